'use strict';
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const source = one('script').textContent;
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'long' });
  const date = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  let shown = 'group', updated = new Date();

  // Adds to a page what needs the script.
  const enhance = (page) => {
    for (const time of all('time', page)) {
      time.title = time.textContent;
      time.textContent = (time.className ? clock : date).format(new Date(time.dateTime));
    }
    for (const code of all('code', page)) {
      const button = page.createElement('button');
      button.type = 'button';
      button.className = 'copy';
      label(button, 'Copy', code);
      code.after(' ', button);
    }
    one('.bar', page).hidden = false;
  };

  const label = (button, word, code) => {
    button.textContent = word;
    button.ariaLabel = `${word} ${code.textContent}`;
  };

  const filter = () => {
    const text = one('input').value.trim().toLowerCase();
    const rows = all('.group');
    for (const row of rows) {
      row.hidden = !row.classList.contains(shown) || !row.textContent.toLowerCase().includes(text);
    }
    for (const button of all('.bar button')) button.setAttribute('aria-pressed', button.value === shown);
    const left = rows.filter((row) => !row.hidden).length;
    say('.bar output', left < rows.length ? `${left} of ${rows.length} groups` : '');
  };

  const say = (selector, text) => {
    const output = one(selector);
    if (output.textContent !== text) output.textContent = text;
    output.hidden = !text;
  };

  const key = (node) => node.dataset?.key;

  // Turns the children of `old` into those of `next`, and keeps the nodes, with their focus and state.
  const morph = (old, next) => {
    const keyed = new Map([...old.children].map((child) => [key(child), child]));
    let place = old.firstChild;
    for (const child of [...next.childNodes]) {
      const same = key(child) === undefined ? place : keyed.get(key(child));
      if (!same || same.nodeName !== child.nodeName || key(same) !== key(child)) {
        old.insertBefore(child, place);
        continue;
      }
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      if (same.nodeType === Node.TEXT_NODE) {
        if (same.data !== child.data) same.data = child.data;
      } else if (same.nodeName !== 'OUTPUT') {
        attributes(same, child);
        morph(same, child);
      }
    }
    while (place) {
      const rest = place.nextSibling;
      place.remove();
      place = rest;
    }
  };

  const attributes = (old, next) => {
    for (const { name } of [...old.attributes]) {
      if (name !== 'open' && !next.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (name !== 'open' && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  };

  const refresh = async () => {
    const last = `Last update ${clock.format(updated)}`;
    try {
      const options = { cache: 'no-store', signal: AbortSignal.timeout(9000) };
      const response = await fetch(location.pathname, options);
      if (!response.ok) throw response.status;
      const page = new DOMParser().parseFromString(await response.text(), 'text/html');
      if (one('script', page).textContent !== source) return location.reload();
      if (!getSelection().isCollapsed) return say('.note', `${last}: not refreshed while text is selected.`);
      const focused = document.activeElement;
      enhance(page);
      document.title = page.title;
      one('link').href = one('link', page).href;
      attributes(document.body, page.body);
      morph(document.body, page.body);
      updated = new Date();
      filter();
      say('.note', '');
      if (focused.isConnected) focused.focus({ preventScroll: true });
    } catch {
      document.body.className = 'stale';
      document.title = '(!) no response - Airlock';
      one('link').href = one('link').dataset.bad;
      say('.note', `${last}: the server does not respond.`);
    }
  };

  const copy = (button) => {
    const code = button.previousElementSibling;
    getSelection().selectAllChildren(code);
    if (!document.execCommand('copy')) return;
    getSelection().removeAllRanges();
    label(button, 'Copied', code);
  };

  // Shows the group that the address names.
  const reveal = () => {
    const row = one(':target')?.closest('.group');
    if (!row) return;
    row.open = true;
    if (row.hidden) {
      shown = 'group';
      one('input').value = '';
      filter();
    }
    row.scrollIntoView();
  };

  document.addEventListener('click', ({ target }) => {
    if (target.matches('.copy')) copy(target);
    if (target.matches('.bar button')) {
      shown = target.value;
      filter();
    }
  });
  document.addEventListener('input', filter);
  document.addEventListener('visibilitychange', refresh);
  addEventListener('hashchange', reveal);
  setInterval(refresh, 10000);
  enhance(document);
  filter();
  reveal();
})();
