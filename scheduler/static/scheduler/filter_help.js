// Django's filter_horizontal widgets put an aria-label on an element without a role, which ARIA forbids.
addEventListener("load", () => {
  for (const icon of document.querySelectorAll(".help-tooltip[aria-label]")) icon.setAttribute("role", "img");
});
