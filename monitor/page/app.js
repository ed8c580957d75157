// The page: which view there is, and the events that feed it. A page that
// nobody sees is not fed.
import {byId, setText} from './elements.js';
import * as bubbles from './bubbles.js';
import * as negotiations from './negotiations.js';
import * as instance from './instance.js';
import * as log from './log.js';

let source = null;
let run = '';
let retry = 0;

// place is where in the page we are: a view and its parameters, all of them in
// the address, so that a link leads there.
function place() {
  const [view, query] = location.hash.slice(1).split('?');
  return {view: view === 'monitor' ? 'monitor' : 'bubbles', query: new URLSearchParams(query)};
}

function go(changes) {
  const {query} = place();
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value); else query.delete(name);
  }
  location.hash = query.size ? `monitor?${query}` : 'monitor';
}

// show shows the view of the address, from the beginning.
function show() {
  const {view, query} = place();
  for (const v of ['bubbles', 'monitor']) {
    byId(v).hidden = v !== view;
    if (v === view) byId(`to-${v}`).setAttribute('aria-current', 'page');
    else byId(`to-${v}`).removeAttribute('aria-current');
  }
  instance.choose(query.get('instance') ?? '');
  log.fill(query);
  listen(view, query);
}

function empty() {
  bubbles.clear();
  negotiations.clear();
  log.clear();
  byId('missed').hidden = true;
}

function connection(text, good) {
  setText(byId('connection'), text);
  byId('connection').className = good ? 'good' : 'bad';
}

function stop() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function listen(view, query) {
  stop();
  empty();
  if (document.hidden) return;
  const ask = new URLSearchParams();
  if (view === 'bubbles') {
    for (const w of ['words', 'messages', 'state']) ask.append('want', w);
    for (const t of negotiations.types) ask.append('type', t);
  } else {
    for (const w of ['state', 'messages']) ask.append('want', w);
    for (const name of ['instance', 'type', 'kind', 'objective', 'peer']) {
      if (query.get(name)) ask.append(name, query.get(name));
    }
    // The log is about the instance that is shown.
    if (!query.get('instance') && instance.first()) ask.append('instance', instance.first());
  }
  connection('connecting', false);
  const events = new EventSource(`events?${ask}`);
  source = events;
  const on = (name, f) => events.addEventListener(name, (e) => f(JSON.parse(e.data)));
  on('hello', (h) => {
    if (run && run !== h.Run) empty(); // the program was started anew
    run = h.Run;
    setText(byId('caption'), h.Caption);
    document.title = h.Caption;
    connection('live', true);
  });
  on('words', (all) => all.forEach(bubbles.say));
  on('messages', view === 'bubbles' ? (all) => all.forEach(negotiations.take) : log.take);
  on('state', view === 'bubbles' ? negotiations.check : instance.show);
  on('missed', (n) => {
    setText(byId('missed'), `${n.Words + n.Messages} missed: too fast to show`);
    byId('missed').hidden = false;
  });
  on('closing', () => {
    stop();
    connection('the program has ended', false);
  });
  events.onerror = () => {
    connection('connection lost', false);
    if (events.readyState === EventSource.CLOSED) retry = setTimeout(show, 3000);
  };
}

byId('filter').addEventListener('submit', (e) => e.preventDefault());
byId('filter').addEventListener('change', () => go(Object.fromEntries(new FormData(byId('filter')))));
byId('instances').addEventListener('click', (e) => {
  const button = e.target.closest('button');
  if (button) go({instance: button.dataset.name});
});
instance.onFirst(show);
addEventListener('hashchange', show);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) stop(); else show();
});
show();
