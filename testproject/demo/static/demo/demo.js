'use strict';

// Shows what the server says is so, twice a second. Nothing here decides anything: a token
// moves because the state of its payment has changed.

const EVERY = 500; // Milliseconds between two looks.
const SAMPLES = 120; // Of the chart: one minute.
const PILE = 48; // Dots at most.
const TOKENS = 40; // More at a time would be a smear.
const AT_REST = window.matchMedia('(prefers-reduced-motion: reduce)');

const byId = (id) => document.getElementById(id);
const token = document.querySelector('[name=csrfmiddlewaretoken]').value;

/** An element with its text and attributes. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(name, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// --- Asking the server

let asked = 0; // An answer that was overtaken by a later one is not shown.
let shown = 0;

async function ask(url, body) {
  const number = ++asked;
  const answer = await fetch(url, {
    method: body ? 'POST' : 'GET',
    body,
    headers: { Accept: 'application/json', 'X-CSRFToken': token },
  });
  if (!answer.ok) throw new Error(`The monolith answered ${answer.status}.`);
  const scene = await answer.json();
  if (number < shown) return;
  shown = number;
  show(scene);
}

function say(text) {
  if (byId('said').textContent !== text) byId('said').textContent = text;
}

async function look() {
  try {
    if (!document.hidden) await ask(document.body.dataset.state);
    say('');
  } catch {
    say('The demo does not answer. Has it been stopped? Start it again with: make demo');
  }
  setTimeout(look, EVERY);
}

for (const form of document.querySelectorAll('form')) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const body = new FormData(form);
    if (event.submitter?.name) body.set(event.submitter.name, event.submitter.value);
    try {
      await ask(form.action, new URLSearchParams(body));
    } catch (error) {
      say(error.message);
    }
  });
}

// --- The way: lines between the stations, and tokens on them

const STATIONS = ['monolith', 'outbox', 'relay', 'subscribers', 'receipts'];
const paths = {};
let moving = [];

function layOut() {
  const frame = byId('way').getBoundingClientRect();
  const boxes = STATIONS.map((name) => byId(`at-${name}`).getBoundingClientRect());
  const upright = boxes[1].top > boxes[0].top + 10; // On a phone.
  boxes.slice(1).forEach((to, index) => {
    const from = boxes[index];
    const line = upright
      ? [from.left + 28 - frame.left, from.bottom - frame.top,
         to.left + 28 - frame.left, to.top - frame.top]
      : [from.right - frame.left, from.top + 40 - frame.top,
         to.left - frame.left, to.top + 40 - frame.top];
    lay(STATIONS[index + 1], `M${line[0]} ${line[1]} L${line[2]} ${line[3]}`, 'new');
  });
  const [first, last] = [boxes[0], boxes[4]];
  if (upright) {
    const x = first.left - frame.left;
    const [y1, y2] = [first.top + 24 - frame.top, last.top + 24 - frame.top];
    const out = x - 16;
    lay('old', `M${x} ${y1} Q${out} ${y1} ${out} ${y1 + 20} V${y2 - 20} Q${out} ${y2} ${x} ${y2}`, 'old');
  } else {
    const [x1, x2] = [first.left + first.width / 2 - frame.left, last.left + last.width / 2 - frame.left];
    const [y, top] = [first.top - frame.top, 14];
    lay('old', `M${x1} ${y} C${x1} ${top} ${x1 + 20} ${top} ${x1 + 70} ${top} H${x2 - 70} C${x2 - 20} ${top} ${x2} ${top} ${x2} ${y}`, 'old');
  }
}

function lay(name, d, kind) {
  if (!paths[name]) {
    paths[name] = draw('path', { class: kind });
    byId('paths').append(paths[name]);
  }
  paths[name].setAttribute('d', d);
}

/** Send a token along these paths, one after the other. */
function send(names, kind, delay = 0) {
  if (AT_REST.matches || document.hidden || moving.length >= TOKENS) return;
  const shape = kind === 'old'
    ? draw('rect', { x: -6, y: -6, width: 12, height: 12, rx: 2, class: 'token old' })
    : draw('circle', { r: 6.5, class: `token ${kind}` });
  shape.setAttribute('visibility', 'hidden');
  byId('paths').append(shape);
  moving.push({ shape, names: [...names], started: performance.now() + delay });
  if (moving.length === 1) requestAnimationFrame(move);
}

function move(now) {
  moving = moving.filter((each) => {
    const path = paths[each.names[0]];
    const length = path.getTotalLength();
    const duration = Math.min(1100, 260 + length * 1.1);
    const part = (now - each.started) / duration;
    if (part < 0) return true;
    if (part >= 1) {
      each.names.shift();
      each.started = now;
      if (each.names.length === 0) {
        each.shape.remove();
        return false;
      }
      return true;
    }
    const eased = part < 0.5 ? 2 * part * part : 1 - (2 - 2 * part) ** 2 / 2;
    const { x, y } = path.getPointAtLength(eased * length);
    each.shape.setAttribute('transform', `translate(${x} ${y})`);
    each.shape.setAttribute('visibility', 'visible');
    return true;
  });
  if (moving.length) requestAnimationFrame(move);
}

// --- What is so now

const known = new Map(); // Payments: how far each was when we last looked.
let first = true;

function show(scene) {
  const { counts } = scene;
  for (const element of document.querySelectorAll('[data-count]')) {
    const text = counts[element.dataset.count].toLocaleString('en');
    if (element.textContent !== text) element.textContent = text;
  }
  byId('parked').hidden = !counts.parked;
  showPile(counts.pending);
  showBalance(counts);
  showRelay(scene.relay);
  showTraffic(scene.traffic);
  showGuard(scene.guard);
  showTexts(scene.texts);
  showTables(scene.tables);
  showBoard(scene.board);
  showRollout(scene.rollout);
  showUsers(scene.users);
  showChart(counts.pending);
  follow(scene.payments);
  showPayments(scene.payments);
  first = false;
}

function showPile(pending) {
  const pile = byId('pile');
  const dots = Math.min(pending, PILE);
  const more = pending - dots;
  pile.querySelector('.more')?.remove();
  while (pile.childElementCount > dots) pile.lastElementChild.remove();
  while (pile.childElementCount < dots) pile.append(make('i'));
  if (more) pile.append(make('i', { class: 'more' }, `+${more}`));
  byId('at-outbox').classList.toggle('full', pending > PILE / 4);
}

function showBalance(counts) {
  const missing = counts.payments - counts.receipts;
  const balance = byId('balance');
  const is = missing < 0 || counts.parked ? 'wrong' : missing ? 'waiting' : 'even';
  balance.dataset.is = is;
  const word = counts.payments === 1 ? 'payment' : 'payments';
  balance.textContent = {
    even: `${counts.payments} ${word}, and a receipt for each: nothing lost, nothing twice.`,
    waiting: `${counts.payments} ${word}, ${counts.receipts} receipts: ${missing} on the way.`,
    wrong: `${counts.payments} ${word}, ${counts.receipts} receipts, ${counts.parked} events parked.`,
  }[is];
}

function showRelay(pid) {
  byId('relay').dataset.is = pid ? 'running' : 'stopped';
  byId('relay-says').textContent = pid
    ? `It runs, as process ${pid}.`
    : 'Nobody drains the outbox.';
  byId('at-relay').classList.toggle('away', !pid);
  for (const name of ['relay', 'subscribers']) {
    paths[name]?.setAttribute('class', pid ? 'new' : 'cut');
  }
  for (const button of document.querySelectorAll('[value=start], [value=stop], [value=kill]')) {
    if (button.id !== 'traffic') button.disabled = (button.value === 'start') === Boolean(pid);
  }
}

function showTraffic(isOn) {
  byId('traffic').value = isOn ? 'stop' : 'start';
  byId('traffic').textContent = isOn ? 'Pause the traffic' : 'Start the traffic';
}

function showGuard({ mend, on, says }) {
  byId('guard').dataset.is = on ? 'running' : 'stopped';
  if (byId('guard-says').textContent !== says) byId('guard-says').textContent = says;
  byId('bug').value = mend ? 'mend' : 'break';
  byId('bug').textContent = mend ? 'Mend it and go on' : 'Put a bug into the new path';
}

function showTexts({ mend, on, says, differs }) {
  byId('texts').dataset.is = on ? 'running' : 'stopped';
  if (byId('texts-say').textContent !== says) byId('texts-say').textContent = says;
  byId('texts-bug').value = mend ? 'mend' : 'break';
  byId('texts-bug').textContent = mend ? 'Mend them and go on' : 'Put a bug into the new texts';
  byId('texts-differ').hidden = !differs.length;
  byId('text-old').textContent = differs[0] ?? '';
  byId('text-new').textContent = differs[1] ?? '';
}

function showTables({ home, busy, finished, says }) {
  if (byId('tables-say').textContent !== says) byId('tables-say').textContent = says;
  byId('tables').dataset.is = busy ? 'stopped' : 'running';
  for (const button of byId('tables-do').querySelectorAll('button')) {
    button.disabled = busy || finished || home === (button.value === 'modern');
  }
}

let board = '';

function showBoard(rows) {
  const now = JSON.stringify(rows);
  if (board === now) return;
  board = now;
  byId('board').replaceChildren(...rows.map(({ domain, verdict, reasons }) => {
    const kind = { 'safe to retire': 'done', hold: 'wrong' }[verdict] ?? '';
    return make('li', {}, make('b', {}, domain), ' ',
      make('span', { class: `step ${kind}` }, verdict), ' ',
      make('span', { class: 'hint' }, reasons.join(' ')));
  }));
}

const slider = byId('percentage');
let wanted = null; // What the hand on the slider asks for, until the server has it.

function showRollout(percentage) {
  if (wanted !== null && wanted !== percentage) return;
  wanted = null;
  slider.value = percentage;
  byId('rollout-says').textContent = `${percentage} %`;
}

let asking = false;

slider.addEventListener('input', async () => {
  wanted = Number(slider.value);
  byId('rollout-says').textContent = `${wanted} %`;
  if (asking) return; // One at a time; the last one asked for wins.
  asking = true;
  try {
    for (let sent = null; wanted !== null && wanted !== sent;) {
      sent = wanted;
      await ask(byId('rollout').action, new URLSearchParams({ percentage: sent }));
    }
  } catch (error) {
    say(error.message);
  }
  wanted = null;
  asking = false;
});

const buttons = [...document.querySelectorAll('#users button')];

function showUsers(users) {
  users.forEach(({ id, moved }, index) => {
    const is = moved ? 'yes' : 'no';
    if (buttons[index].dataset.moved === is) return;
    buttons[index].dataset.moved = is;
    buttons[index].setAttribute('aria-label', `User ${id}, ${moved ? 'by events' : 'by the old path'}`);
  });
}

// One stop for the tab key, arrows within.
byId('users').addEventListener('keydown', (event) => {
  const across = getComputedStyle(byId('users')).gridTemplateColumns.split(' ').length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across };
  const from = buttons.indexOf(document.activeElement);
  const to = { Home: 0, End: buttons.length - 1 }[event.key] ?? from + steps[event.key];
  if (from < 0 || !buttons[to]) return;
  event.preventDefault();
  buttons[from].tabIndex = -1;
  buttons[to].tabIndex = 0;
  buttons[to].focus();
});

function flash(user) {
  const button = buttons.find((each) => each.value === String(user));
  button?.classList.add('paid');
  setTimeout(() => button?.classList.remove('paid'), 700);
}

const samples = [];
let sampled = 0;

function showChart(pending) {
  // A click is answered in between.
  if (performance.now() - sampled < EVERY * 0.8) return;
  sampled = performance.now();
  samples.push(pending);
  if (samples.length > SAMPLES) samples.shift();
  const most = Math.max(...samples);
  const top = Math.max(10, most * 1.15);
  const points = samples.map((value, index) => {
    const x = 300 - (samples.length - 1 - index) * (300 / (SAMPLES - 1));
    return `${x.toFixed(1)},${(88 - (value / top) * 84).toFixed(1)}`;
  });
  const left = points[0].split(',')[0];
  byId('chart').replaceChildren(
    draw('polygon', { points: `${left},90 ${points.join(' ')} 300,90` }),
    draw('polyline', { points: points.join(' ') }),
  );
  byId('most').textContent = most;
}

/** Let tokens go for what has changed since we last looked. */
function follow(payments) {
  [...payments].reverse().forEach((payment, index) => {
    const before = known.get(payment.id) ?? { event: 'none', receipt: false };
    const after = { event: payment.state, receipt: payment.receiptAfter !== null };
    known.set(payment.id, after);
    if (first) return;
    const delay = index * 60;
    if (before.event === 'none') {
      flash(payment.user);
      if (!payment.moved && after.receipt) send(['old'], 'old', delay);
    }
    const way = before.event === 'none' ? ['outbox'] : [];
    if (before.event !== 'confirmed' && after.event === 'confirmed') {
      way.push('relay', 'subscribers');
      if (payment.moved) way.push('receipts');
    }
    if (way.length) send(way, payment.moved ? 'new' : 'plain', delay);
  });
}

const rows = new Map(); // The elements of the list, by payment.

function showPayments(payments) {
  const list = byId('payments');
  if (payments.length && !rows.size) list.replaceChildren();
  for (const [id, row] of rows) {
    if (payments.some((payment) => payment.id === id)) continue;
    row.item.remove();
    rows.delete(id);
  }
  for (const payment of [...payments].reverse()) {
    let row = rows.get(payment.id);
    if (!row) {
      row = newRow(payment);
      rows.set(payment.id, row);
      list.prepend(row.item);
    }
    const now = JSON.stringify([payment.state, payment.handlers, payment.receiptAfter]);
    if (row.was === now) continue;
    row.was = now;
    row.steps.replaceChildren(...stepsOf(payment));
    row.mail.textContent = payment.receipt.trim() || 'Not yet.';
  }
}

function newRow(payment) {
  const steps = make('span', { class: 'steps' });
  const mail = make('pre');
  const summary = make('summary', {},
    make('span', {}, `Payment ${payment.id}, user ${payment.user}`),
    make('span', {}, payment.amount),
    steps);
  const inside = make('div', { class: 'inside' },
    make('div', {}, make('h3', {}, `Event ${payment.event}`),
      make('pre', {}, JSON.stringify(JSON.parse(payment.body), null, 2))),
    make('div', {}, make('h3', {}, 'Its headers'),
      make('pre', {}, JSON.stringify(payment.headers, null, 2))),
    make('div', {}, make('h3', {}, 'The receipt'), mail));
  const item = make('li', {}, make('details', {}, summary, inside));
  return { item, steps, mail, was: '' };
}

function stepsOf(payment) {
  const step = (kind, text) => make('span', { class: `step ${kind}` }, text);
  const steps = [step('done', 'committed')];
  if (payment.state === 'confirmed') steps.push(step('done', `confirmed after ${time(payment.confirmedAfter)}`));
  else if (payment.state === 'parked') steps.push(step('wrong', 'parked'));
  else steps.push(step('', 'pending'));
  for (const name of payment.handlers.filter((each) => each !== 'receipts')) {
    steps.push(step('done', `counted by ${name}`));
  }
  if (payment.receiptAfter === null) steps.push(step('', 'receipt to come'));
  else if (payment.moved) steps.push(step('done', `receipt by event after ${time(payment.receiptAfter)}`));
  else steps.push(step('done old', `receipt by the old path after ${time(payment.receiptAfter)}`));
  return steps;
}

function time(milliseconds) {
  return milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

layOut();
new ResizeObserver(layOut).observe(byId('way'));
look();
