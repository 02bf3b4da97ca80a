"use strict";
// Keeps the page up to date: asks for it again and changes what is different, so that focus, selection,
// scroll position and opened texts stay. The server renders; nothing is made from text here.
(() => {
  const PAUSE = 2000; // ms between a response and the next request
  const PATIENCE = 10000; // ms to wait for a response
  const button = document.getElementById("live");
  const lost = document.getElementById("lost");
  const form = document.querySelector("form");
  let timer = 0;
  let request = null;
  let paused = false;

  const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;
  const keyOf = (node) => (isElement(node) ? node.getAttribute("data-key") : null);

  // Makes the children of `old` like those of `now`. Rows are known by their key, all else by its place.
  const matchChildren = (old, now) => {
    const rows = new Map();
    for (const child of old.children) if (keyOf(child)) rows.set(keyOf(child), child);
    let place = old.firstChild;
    for (const wanted of now.childNodes) {
      const key = keyOf(wanted);
      const alike = place && !keyOf(place) && place.nodeName === wanted.nodeName;
      const known = key ? rows.get(key) : alike ? place : null;
      if (!known) {
        old.insertBefore(document.importNode(wanted, true), place);
        continue;
      }
      if (known === place) place = place.nextSibling;
      else old.insertBefore(known, place);
      match(known, wanted);
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  };

  const match = (old, now) => {
    if (!isElement(old)) {
      if (old.data !== now.data) old.data = now.data;
      return;
    }
    if (old.hasAttribute("data-keep")) return;
    for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (name !== "open" && !now.hasAttribute(name)) old.removeAttribute(name);
    matchChildren(old, now);
  };

  const show = (page) => {
    const focused = document.activeElement;
    match(document.querySelector("main"), page.querySelector("main"));
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    if (document.title !== page.title) document.title = page.title;
    const icon = page.querySelector("link[rel=icon]").getAttribute("href");
    const link = document.querySelector("link[rel=icon]");
    if (link.getAttribute("href") !== icon) link.setAttribute("href", icon);
  };

  const isLost = (yes) => {
    if (lost.hidden !== yes) return;
    document.body.classList.toggle("lost", yes);
    const last = document.querySelector("main time").textContent;
    lost.textContent = yes ? `No answer from this service since ${last}. Below is what was known then; still trying.` : "";
    lost.hidden = !yes;
  };

  const later = () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(refresh, PAUSE);
  };

  const stop = () => {
    clearTimeout(timer);
    const current = request;
    request = null;
    if (current) current.abort();
  };

  const refresh = () => {
    stop();
    const current = new XMLHttpRequest();
    request = current;
    current.open("GET", location.href);
    current.responseType = "document"; // parsed as HTML, and no script in it runs
    current.timeout = PATIENCE;
    current.onloadend = () => {
      if (request !== current) return; // stopped
      request = null;
      const page = current.status === 200 ? current.response : null;
      const good = page !== null && page.querySelector("main[data-taken]") !== null; // and not a login page before it
      if (good) show(page);
      isLost(!good);
      later();
    };
    current.send();
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    document.body.classList.toggle("paused", paused);
    if (paused) stop();
    else refresh();
  });

  // The filter acts while one types, and the address can be passed on.
  form.querySelector("button").hidden = true;
  const filter = () => {
    const url = new URL(location.href);
    const words = form.elements.q.value.trim();
    if (words) url.searchParams.set("q", words);
    else url.searchParams.delete("q");
    if (url.href === location.href) return;
    history.replaceState(null, "", url);
    clearTimeout(timer);
    timer = setTimeout(refresh, 150);
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    filter();
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else if (!paused) refresh();
  });
  later();
})();
