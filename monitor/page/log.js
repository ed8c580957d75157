// The message log, the newest first.
import {byId, clock, element, pick} from './elements.js';

const most = 300;
const types = ['M_DISCOVERY', 'M_RESPONSE', 'M_REQ_NEG', 'M_REQ_SYN', 'M_NEGOTIATE', 'M_END', 'M_WAIT', 'M_SYNCH', 'M_FLOOD', 'M_INVALID'];
const arrows = {sent: '→', received: '←', relayed: '⇢', dropped: '✕'};

byId('filter').elements.type.append(...types.map((t) => element('option', '', t)));

// fields are the parts of the filter.
export const fields = ['text', 'type', 'kind', 'objective', 'peer', 'session'];

// fill shows the filter of the address in the form.
export function fill(query) {
  let any = false;
  for (const name of fields) {
    const field = byId('filter').elements[name];
    field.value = query.get(name) ?? '';
    field.classList.toggle('set', field.value !== '');
    any ||= field.value !== '';
  }
  byId('clear').hidden = !any;
}

export function clear() {
  byId('messages').replaceChildren();
  byId('no-messages').hidden = false;
}

// take shows messages.
export function take(all) {
  const list = byId('messages');
  const before = list.scrollHeight;
  list.prepend(...all.slice(-most).reverse().map(entry));
  while (list.childElementCount > most) list.lastElementChild.remove();
  if (list.scrollTop > 0) list.scrollTop += list.scrollHeight - before; // what is read stays where it is
  byId('no-messages').hidden = list.childElementCount > 0;
}

// entry returns a message.
function entry(m) {
  const kind = element('span', `kind ${m.Kind}`, `${arrows[m.Kind] ?? ''} ${m.Reason ? `dropped: ${m.Reason}` : m.Kind}`);
  const objective = m.Objective ? pick('objective', m.Objective) : null;
  objective?.classList.add('objective');
  const peer = m.Peer ? pick('peer', m.Peer) : m.Kind === 'sent' ? element('bdi', '', 'multicast') : null;
  peer?.classList.add('peer');
  const line = element('div', 'line',
    element('time', '', clock(m.Time, 3)), kind, element('b', '', m.Type ?? ''), objective, peer,
    m.SessionID ? pick('session', String(m.SessionID)) : null);
  if (m.Size) line.append(element('span', 'size', `${m.Size} B`));
  const text = element('code', '', m.Text ?? '');
  text.dir = 'ltr';
  // The type and the session are in the line above.
  const words = (m.Words ?? '').replace(/^M_\w+ session \d+:? ?/, '');
  const out = element('li', '', line, words ? element('p', 'words', words) : null,
    m.Text ? text : null, m.Error ? element('p', 'error', m.Error) : null);
  out.dataset.n = m.N;
  return out;
}
