"use strict";
// The pages are complete without scripts. This adds the reader's own time, and keeps an open page up to date.
// Only the choice of the time zone is stored.

const UTC = "utc";
const words = { utc: "Show times in UTC", local: "Show local times" };

function zoneIsUtc() {
  try { return localStorage.getItem("zone") === UTC; } catch { return false; }
}

function tellTimes(root) {
  const utc = zoneIsUtc();
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const time of root.querySelectorAll("time[datetime*='T']")) {
    time.dataset.utc ??= time.textContent;
    const at = new Date(time.dateTime);
    const local = Number.isNaN(at.getTime()) ? time.dataset.utc : format.format(at);
    time.textContent = utc ? time.dataset.utc : local;
    time.title = utc ? local : time.dataset.utc;
  }
  for (const days of root.querySelectorAll(".days")) tellDays(days, utc);
  for (const each of root.querySelectorAll(".scripted")) each.hidden = false;
}

// The server knows days of UTC alone; below a heading stands what happened on that day of the reader's.
function tellDays(days, utc) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
  const level = days.firstElementChild.tagName;
  const parts = [];
  for (const item of days.querySelectorAll("ol.timeline > li")) {
    const at = item.querySelector("time").dateTime;
    const day = utc ? `${at.slice(0, 10)} UTC` : format.format(new Date(at));
    if (parts.at(-2)?.textContent !== day) {
      const heading = Object.assign(document.createElement(level), { className: "day", textContent: day });
      parts.push(heading, Object.assign(document.createElement("ol"), { className: "timeline" }));
    }
    parts.at(-1).append(item);
  }
  days.replaceChildren(...parts);
}

function offerZones() {
  const button = document.getElementById("zone");
  const show = () => { button.textContent = zoneIsUtc() ? words.local : words.utc; };
  button.addEventListener("click", () => {
    try { localStorage.setItem("zone", zoneIsUtc() ? "local" : UTC); } catch { return; }
    show();
    tellTimes(document);
  });
  show();
  button.hidden = false;
}

// Nobody's typing or selecting is disturbed, in the header neither.
function isInUse() {
  if (document.activeElement?.matches("input, select, textarea")) return true;
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && document.getElementById("main").contains(selection.anchorNode)) return true;
  return [...document.querySelectorAll("input:not([type=hidden])")].some((each) => each.value !== each.defaultValue);
}

function openDetails(root) {
  return new Map([...root.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
}

// A focused link or button is found again by where it leads.
function handle(element) {
  if (!element || element === document.body) return null;
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.tagName === "SUMMARY" && element.parentElement.id) return `#${CSS.escape(element.parentElement.id)} > summary`;
  const href = element.getAttribute("href");
  return href ? `a[href="${CSS.escape(href)}"]` : null;
}

function swap(fresh) {
  const main = document.getElementById("main");
  const next = fresh.getElementById("main");
  const before = openDetails(main);
  const focused = main.contains(document.activeElement) ? handle(document.activeElement) : null;
  const place = [scrollX, scrollY];
  tellTimes(next);
  for (const each of next.querySelectorAll("details[id]")) {
    if (before.has(each.id)) each.open = before.get(each.id);
  }
  main.replaceChildren(...next.childNodes);
  document.getElementById("head").replaceChildren(...fresh.getElementById("head").childNodes);
  document.title = fresh.title;
  if (focused) main.querySelector(focused)?.focus({ preventScroll: true });
  scrollTo(...place);
}

function tellLate(since) {
  const late = document.getElementById("late");
  late.hidden = since === null;
  if (since !== null) late.textContent = `Not up to date: the monitor has not answered since ${since.toLocaleTimeString()}.`;
}

function stayFresh(seconds) {
  let answeredAt = new Date();
  let asking = false;
  async function refresh() {
    if (document.hidden || asking || isInUse()) return;
    asking = true;
    try {
      const answer = await fetch(location.pathname + location.search, {
        cache: "no-store", signal: AbortSignal.timeout(seconds * 1000),
      });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!page.getElementById("main")) throw new Error("no page");
      if (!isInUse()) swap(page);
      answeredAt = new Date();
      tellLate(null);
    } catch {
      tellLate(answeredAt);
    } finally {
      asking = false;
    }
  }
  setInterval(refresh, seconds * 1000);
  document.addEventListener("visibilitychange", refresh);
}

// What was done is said once, not at each refresh.
function forgetDone() {
  const here = new URL(location.href);
  if (!here.searchParams.has("done")) return;
  here.searchParams.delete("done");
  history.replaceState(null, "", here);
}

forgetDone();
tellTimes(document);
offerZones();
const seconds = Number(document.body.dataset.refresh);
if (seconds) stayFresh(seconds);
