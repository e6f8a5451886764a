// The state of the page in its address, behind #: so a view can be kept, shared and gone back to.
// What stands there is not sent to the server with the page.

/** What the address says, by name. */
export function read() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

let waiting = null;

/** Let the address say this, soon; a browser takes only so many changes in a second. */
export function note(values) {
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState(null, "", written(values)), 200);
}

/** Let the address say this as a step that one can go back from. */
export function step(values) {
  clearTimeout(waiting);
  const address = written(values);
  if (address !== location.hash) history.pushState(null, "", address);
}

/** Call this with what the address says whenever a person changes it, or goes back. */
export function follow(changed) {
  addEventListener("popstate", () => {
    clearTimeout(waiting);
    changed(read());
  });
}

function written(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  return `#${new URLSearchParams(kept)}`;
}
