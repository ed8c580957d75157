// The page: which view there is, and the events that feed it. A page that
// nobody sees is not fed.
import {byId, setText} from './elements.js';
import * as bubbles from './bubbles.js';
import {Board, types as steps} from './negotiations.js';
import * as instance from './instance.js';
import * as history from './history.js';
import * as log from './log.js';
import * as network from './network.js';

const views = ['bubbles', 'monitor', 'network'];

const talks = new Board(byId('negotiations'), bubbles.asaOf, false);
const ladders = new Board(byId('ladders'), () => '', true);

let source = null;
let run = '';
let retry = 0;
let paused = false;

// place is where in the page we are: a view and its parameters, all of them in
// the address, so that a link leads there.
function place() {
  const [view, query] = location.hash.slice(1).split('?');
  return {view: views.includes(view) ? view : 'bubbles', query: new URLSearchParams(query)};
}

function address(changes) {
  const {query} = place();
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value); else query.delete(name);
  }
  return query.size ? `#monitor?${query}` : '#monitor';
}

const go = (changes) => { location.hash = address(changes); };

// show shows the view of the address, from the beginning.
function show() {
  const {view, query} = place();
  for (const v of views) {
    byId(v).hidden = v !== view;
    if (v === view) byId(`to-${v}`).setAttribute('aria-current', 'page');
    else byId(`to-${v}`).removeAttribute('aria-current');
  }
  instance.choose(query);
  log.fill(query);
  showLog(query.get('log') === 'negotiations' ? 'negotiations' : 'messages');
  pause(false);
  listen(view, query);
}

// showLog shows one of the two logs.
function showLog(which) {
  byId('log').dataset.log = which;
  byId('ladders').hidden = which !== 'negotiations';
  byId('messages').hidden = which === 'negotiations';
  for (const link of byId('logs').children) {
    link.href = address({log: link.dataset.log === 'messages' ? '' : link.dataset.log});
    if (link.dataset.log === which) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
  }
}

function empty() {
  bubbles.clear();
  talks.clear();
  ladders.clear();
  log.clear();
  history.clear();
  network.clear();
  byId('missed').hidden = true;
}

function connection(text, good) {
  setText(byId('connection'), text);
  byId('connection').className = good;
}

function stop() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

// pause has the page stay as it is, or go on.
function pause(on) {
  paused = on;
  setText(byId('pause'), on ? 'Go on' : 'Pause');
  byId('pause').setAttribute('aria-pressed', String(on));
  if (on) {
    stop();
    connection('paused', 'fair');
  }
}

// wanted returns what to ask for in a view.
function wanted(view, query) {
  const ask = new URLSearchParams();
  if (view === 'network') {
    ask.append('want', 'network');
    return ask;
  }
  for (const w of ['state', 'messages']) ask.append('want', w);
  if (view === 'bubbles') {
    ask.append('want', 'words');
    for (const t of steps) ask.append('type', t);
    return ask;
  }
  ask.append('want', 'history');
  for (const name of ['instance', ...log.fields]) {
    if (query.get(name)) ask.append(name, query.get(name));
  }
  // The log is about the instance that is shown.
  if (!query.get('instance') && instance.first()) ask.append('instance', instance.first());
  if (query.get('log') === 'negotiations' && !query.get('type')) for (const t of steps) ask.append('type', t);
  return ask;
}

function listen(view, query) {
  stop();
  empty();
  if (document.hidden) return;
  connection('connecting', '');
  const events = new EventSource(`events?${wanted(view, query)}`);
  source = events;
  const on = (name, f) => events.addEventListener(name, (e) => f(JSON.parse(e.data)));
  on('hello', (h) => {
    if (run && run !== h.Run) empty(); // the program was started anew
    run = h.Run;
    setText(byId('caption'), h.Caption);
    document.title = h.Caption;
    connection('live', 'good');
  });
  on('words', (all) => all.forEach(bubbles.say));
  on('messages', (all) => {
    if (view === 'bubbles') return all.forEach((m) => talks.take(m));
    log.take(all);
    all.forEach((m) => ladders.take(m));
  });
  on('state', (state) => {
    if (view === 'bubbles') return talks.check(state);
    instance.show(state);
    ladders.check(state);
  });
  on('network', network.show);
  on('history', (all) => {
    const name = query.get('instance') || instance.first();
    history.show(all.find((h) => h.Instance === name) ?? all[0]);
  });
  on('missed', (n) => {
    setText(byId('missed'), `${n.Words + n.Messages} missed: too fast to show`);
    byId('missed').hidden = false;
  });
  on('closing', () => {
    stop();
    connection('the program has ended', 'bad');
  });
  events.onerror = () => {
    connection('connection lost', 'bad');
    if (events.readyState === EventSource.CLOSED) retry = setTimeout(show, 3000);
  };
}

const filter = byId('filter');
filter.addEventListener('submit', (e) => {
  e.preventDefault();
  go(Object.fromEntries(new FormData(filter)));
});
filter.addEventListener('change', () => go(Object.fromEntries(new FormData(filter))));
byId('clear').addEventListener('click', () => go(Object.fromEntries(log.fields.map((name) => [name, '']))));
byId('pause').addEventListener('click', () => { if (paused) show(); else pause(true); });
byId('instances').addEventListener('click', (e) => {
  const button = e.target.closest('button');
  if (button) go({instance: button.dataset.name});
});
byId('monitor').addEventListener('click', (e) => {
  const name = e.target.closest('[data-pick]');
  if (!name || getSelection().toString()) return;
  const {pick, value} = name.dataset;
  go({[pick]: pick === 'peer' ? instance.hostOf(value) : value});
});
instance.onFirst(show);
addEventListener('hashchange', show);
document.addEventListener('visibilitychange', () => {
  if (paused) return;
  if (document.hidden) stop(); else show();
});
show();
