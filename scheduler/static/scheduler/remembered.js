// Ahead of the admin's own scripts: what it remembers in this browser.
// The page and the admin each remember a theme under a key of their own: the choice made in one holds in the other.
{
  const PAGE = "gpu-cluster-theme";
  const ADMIN = "theme";
  const SIDEBAR = "django.admin.navSidebarIsOpen";
  try {
    localStorage.setItem(ADMIN, localStorage.getItem(PAGE) ?? "auto");
    // The header leads to the same places: the lists get the sidebar's room until somebody opens it.
    if (localStorage.getItem(SIDEBAR) === null) localStorage.setItem(SIDEBAR, "false");
    addEventListener("pagehide", () => {
      const chosen = localStorage.getItem(ADMIN);
      if (chosen === "dark" || chosen === "light") localStorage.setItem(PAGE, chosen);
      else localStorage.removeItem(PAGE);
    });
  } catch {
    // Storage is forbidden in this browser: the system's theme stands.
  }
}
