// Must run before the scripts of the admin, which read what this browser has stored.
// The page and the admin store the theme under different keys: a choice in one applies to the other too.
{
  const PAGE = "gpu-cluster-theme";
  const ADMIN = "theme";
  const SIDEBAR = "django.admin.navSidebarIsOpen";
  try {
    localStorage.setItem(ADMIN, localStorage.getItem(PAGE) ?? "auto");
    // The header has the same links, so the sidebar is closed until the user opens it.
    if (localStorage.getItem(SIDEBAR) === null) localStorage.setItem(SIDEBAR, "false");
    addEventListener("pagehide", () => {
      const chosen = localStorage.getItem(ADMIN);
      if (chosen === "dark" || chosen === "light") localStorage.setItem(PAGE, chosen);
      else localStorage.removeItem(PAGE);
    });
  } catch {
    // Storage is forbidden in this browser: the system's theme applies.
  }
}
