// Calls the API: JSON in, JSON out, and an error message if it refuses.

/** [answer, null] or [null, message, problem]; the problem is null if the server is unreachable. */
export async function ask(method, path, body, more = {}) {
  const headers = { Accept: "application/json", ...more };
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(path, { method, headers, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body) });
    if (response.ok) return [await response.json(), null];
    const problem = await response.json().catch(() => ({}));
    return [null, refusalText(response, problem), problem];
  } catch {
    return [null, method === "GET" ? "The server is unreachable." : "The server is unreachable: the change may not have been made.", null];
  }
}

/** The cookie first: signing in again in another tab invalidates the token in this page. */
function csrfToken() {
  const name = `${document.body.dataset.csrfCookie}=`;
  const cookie = document.cookie.split("; ").find((each) => each.startsWith(name));
  return cookie ? cookie.slice(name.length) : document.body.dataset.csrf;
}

function refusalText(response, problem) {
  if (response.status === 401 || response.status === 403) return "You are not signed in, or have no permission for this. Reload the page and sign in.";
  const fields = (problem.errors ?? []).map(({ field, message }) => `${field}: ${message}`);
  return fields.join("; ") || problem.detail || problem.title || `The server refused the request (${response.status}).`;
}
