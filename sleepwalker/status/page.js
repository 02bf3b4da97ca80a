"use strict";
// Keeps the page up to date: asks for it again and changes what is different, so that focus, selection,
// scroll position and opened texts stay. The server renders; nothing is made from text here.
(() => {
  const PAUSE = 2000; // ms between a response and the next request
  const UNSEEN = 15000; // the same while the tab is not in sight: its title and icon are
  const PATIENCE = 10000; // ms to wait for a response
  const KEPT = 60000; // ms for which a process counts that has not answered again
  const button = document.getElementById("live");
  const lost = document.getElementById("lost");
  const processes = document.getElementById("processes");
  const said = document.getElementById("said");
  const icon = document.querySelector("link[rel=icon]");
  const form = document.querySelector("form");
  let timer = 0;
  let request = null;
  let paused = false;
  let latest = null; // what the last response was: of which process, its moment, and its entity tag
  let shown = ""; // the process whose page is shown
  let chosen = ""; // the one that the reader wants to see
  const seen = new Map(); // the latest page of each process that answered, for several may share an address

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

  const setTab = (title, href) => {
    if (document.title !== title) document.title = title;
    if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
  };

  // Of several processes, the one that the reader chose, or else the one in the worst state; the one that is shown
  // where they are alike, or the page would change its mind with each response.
  const select = () => {
    const now = Date.now();
    for (const [process, { at }] of seen) if (now - at > KEPT) seen.delete(process);
    if (chosen && seen.has(chosen)) return chosen;
    let best = shown;
    for (const [process, { severity }] of seen) if (!seen.has(best) || severity < seen.get(best).severity) best = process;
    return best;
  };

  const show = () => {
    shown = select();
    const { main, title, href } = seen.get(shown);
    const focused = document.activeElement;
    match(document.querySelector("main"), main);
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    setTab(title, href);
    listProcesses();
  };

  const listProcesses = () => {
    processes.hidden = seen.size < 2;
    if (processes.hidden) return;
    const names = [...seen.keys()].sort();
    while (processes.children.length > names.length + 1) processes.lastChild.remove();
    if (!processes.children.length) processes.append(document.createElement("span"));
    processes.firstChild.textContent =
      `${names.length} processes answer here, each with calls of its own. ` +
      (shown === chosen ? "You chose one of them:" : "The worst is shown:");
    names.forEach((process, place) => {
      let choice = processes.children[place + 1];
      if (!choice) {
        choice = document.createElement("button");
        choice.type = "button";
        processes.append(choice);
      }
      choice.value = process;
      const { at, summary } = seen.get(process);
      const age = Math.round((Date.now() - at) / 1000);
      const words = `${process}${age < 2 ? "" : `, ${age} s ago`}: ${summary}`;
      if (choice.textContent !== words) choice.textContent = words;
      choice.setAttribute("aria-pressed", String(process === shown));
    });
  };

  // `trouble` says why what is shown may not be true any more; empty where it is.
  const isLost = (trouble) => {
    document.body.classList.toggle("lost", trouble !== "");
    const words = trouble && `${trouble} since ${latest.moment}. Below is what was known then; still trying.`;
    if (lost.textContent !== words) lost.textContent = words;
    lost.hidden = !trouble;
    if (trouble) setTab(`No answer since ${latest.moment} · ${latest.title}`, icon.dataset.lost);
  };

  // A page that stands still must not look as if all went on well.
  const tellPaused = () => {
    if (paused && lost.hidden) setTab(`Paused at ${latest.moment} · ${latest.title}`, icon.dataset.lost);
  };

  const take = (page, main, etag) => {
    const { process, severity, title } = main.dataset;
    const summary = main.querySelector("h1").textContent.trim();
    const href = page.querySelector("link[rel=icon]").getAttribute("href");
    latest = { process, etag, title, moment: main.querySelector("time").textContent };
    seen.set(process, { main, title: page.title, href, summary, severity: Number(severity), at: Date.now() });
  };

  const later = () => {
    clearTimeout(timer);
    if (!paused) timer = setTimeout(refresh, document.hidden ? UNSEEN : PAUSE);
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
    if (latest.etag) current.setRequestHeader("If-None-Match", latest.etag);
    current.onloadend = () => {
      if (request !== current) return; // stopped
      request = null;
      const page = current.status === 200 ? current.response : null;
      // A login page before it is no answer.
      const whole = page !== null && page.querySelector("main[data-process] time") !== null;
      const same = current.status === 304 && seen.has(latest.process);
      if (whole) take(page, page.querySelector("main"), current.getResponseHeader("ETag"));
      if (same) seen.get(latest.process).at = Date.now();
      if (whole || same) show();
      const answer = current.status === 200 ? "Another page answers in place of this one" : `Answers with ${current.status}`;
      isLost(whole || same ? "" : current.status ? answer : "No answer from this service");
      tellPaused();
      later();
    };
    current.send();
  };

  const go = (url) => {
    history.replaceState(null, "", url);
    latest.etag = "";
    seen.clear(); // what other processes said was asked otherwise
    clearTimeout(timer);
    timer = setTimeout(refresh, 150);
  };

  document.documentElement.classList.add("live");
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    document.body.classList.toggle("paused", paused);
    if (!paused) return refresh();
    stop();
    tellPaused();
  });

  processes.addEventListener("click", (event) => {
    const choice = event.target.closest("button");
    if (!choice) return;
    chosen = chosen === choice.value ? "" : choice.value;
    show();
    if (!lost.hidden) isLost(lost.textContent.split(" since ")[0]);
    tellPaused();
  });

  // Sorting and filtering change the address, which can be passed on, and is what is asked for again.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("thead a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(new URL(link.getAttribute("href"), location.href));
  });

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text); // where the page came over TLS or from this machine
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  };
  document.addEventListener("click", async (event) => {
    const from = event.target.closest("button.copy");
    if (!from) return;
    await copy(from.dataset.copy);
    from.focus({ preventScroll: true });
    from.classList.add("copied");
    from.querySelector("use").setAttribute("href", "#done");
    said.textContent = `Copied ${from.dataset.copy}`;
    setTimeout(() => {
      from.classList.remove("copied");
      from.querySelector("use").setAttribute("href", "#copy");
      said.textContent = "";
    }, 1500);
  });

  form.querySelector("button").hidden = true;
  const filter = () => {
    const url = new URL(location.href);
    const words = form.elements.q.value.trim();
    if (words) url.searchParams.set("q", words);
    else url.searchParams.delete("q");
    if (url.href !== location.href) go(url);
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    filter();
  });

  document.addEventListener("visibilitychange", () => {
    if (paused) return;
    if (document.hidden) later();
    else refresh();
  });
  take(document, document.querySelector("main").cloneNode(true), "");
  shown = latest.process;
  later();
})();
