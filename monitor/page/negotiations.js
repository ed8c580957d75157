// The negotiations, a card for each, as the first instance saw them that
// reported it.
import {asaOf} from './bubbles.js';
import {byId, duration, element, setText, shade} from './elements.js';

// types are the messages of a negotiation.
export const types = ['M_REQ_NEG', 'M_NEGOTIATE', 'M_WAIT', 'M_END'];

const most = 40; // cards
const mostSteps = 30; // in a card

let cards = new Map(); // by session

export function clear() {
  cards = new Map();
  byId('negotiations').replaceChildren(element('p', 'empty', 'None yet.'));
}

// take shows a message.
export function take(m) {
  if (!m.Step || (m.Kind !== 'sent' && m.Kind !== 'received')) return;
  let card = cards.get(m.SessionID);
  // Session IDs come again: then an end that is known asks or is asked. The other
  // end may tell of the first time when that is over.
  const known = m.Kind === 'sent' ? card?.asks : card?.answers;
  if (!card || (m.Type === 'M_REQ_NEG' && card.over && known)) {
    if (m.Type !== 'M_REQ_NEG') return; // it began before we looked
    card = add(m);
  }
  if (m.Type === 'M_REQ_NEG') { // each end knows itself
    if (m.Kind === 'sent') card.asks = m.Instance; else card.answers = m.Instance;
    title(card);
  }
  // An instance that talks to itself sees each message twice.
  const same = m.Type + m.Text;
  if (m.Instance !== card.seenBy || (card.previous === same && card.kind !== m.Kind)) return;
  card.previous = same;
  card.kind = m.Kind;
  const byAsker = (m.Kind === 'sent') === card.sawAsker;
  step(card, m, byAsker);
}

// check marks those that ended without a word: the connection broke, or
// somebody had waited for too long.
export function check(state) {
  for (const [id, card] of cards) {
    const seenBy = (state.Instances ?? []).find((i) => i.Name === card.seenBy);
    const sessions = seenBy?.Snapshot.Sessions ?? [];
    if (card.over || !seenBy || sessions.length < seenBy.Counts.Sessions) continue;
    if (!sessions.some((s) => s.ID === id)) end(card, 'broken off', '');
  }
}

// end shows how a negotiation ended.
function end(card, how, good) {
  card.over = true;
  setText(card.state, how);
  card.state.className = `state ${good}`;
}

// add starts a card, at the top.
function add(m) {
  const parts = {name: element('bdi', 'name', m.Objective), state: element('span', 'state open', 'under way')};
  parts.who = element('p', 'who');
  parts.steps = element('ol', 'steps');
  const card = {
    ...parts, seenBy: m.Instance, sawAsker: m.Kind === 'sent', peer: m.Peer, over: false,
    box: element('article', 'card', element('h3', '', parts.name, m.Step.Dry ? element('small', '', 'dry run') : null, parts.state),
      parts.who, parts.steps),
  };
  cards.set(m.SessionID, card);
  const list = byId('negotiations');
  list.querySelector('.empty')?.remove();
  list.prepend(card.box);
  while (list.childElementCount > most) list.lastElementChild.remove();
  if (cards.size > most) cards.delete(cards.keys().next().value);
  return card;
}

// party returns the name and the colour of one end of a negotiation.
function party(card, asker) {
  const instance = asker ? card.asks : card.answers;
  if (!instance) return {name: card.peer, shade: ''};
  const asa = asaOf(instance);
  return {name: asa || instance, shade: asa ? shade(JSON.stringify([instance, asa])) : shade(instance)};
}

function title(card) {
  const name = (asker) => {
    const who = party(card, asker);
    return element('bdi', `party ${who.shade}`, who.name);
  };
  card.who.replaceChildren(name(true), ' asks ', name(false));
}

// step adds a step to a card.
function step(card, m, byAsker) {
  const {name, shade} = party(card, byAsker);
  let said;
  switch (m.Type) {
    case 'M_REQ_NEG':
    case 'M_NEGOTIATE':
      said = element('code', '', element('bdi', '', m.Step.Value));
      break;
    case 'M_WAIT':
      said = `asks to wait ${duration(m.Step.Wait)}`;
      break;
    default:
      said = element('span', '', m.Step.Accept ? 'accepts' : 'declines',
        m.Step.Why ? element('bdi', 'why', `: ${m.Step.Why}`) : null);
      if (m.Step.Accept) end(card, 'agreed', 'good'); else end(card, 'declined', 'bad');
  }
  if (card.steps.childElementCount === mostSteps) card.steps.append(element('li', '', '…'));
  if (card.steps.childElementCount > mostSteps && !card.over) return;
  card.steps.append(element('li', shade, element('bdi', 'party', name), ' ', said));
}
