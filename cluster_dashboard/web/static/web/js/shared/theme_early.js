// Sets the stored theme before the first paint. A classic script, since modules run later.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("gpu-cluster-theme");
  } catch {
    chosen = null; // storage may be forbidden: the system's theme applies
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
}
