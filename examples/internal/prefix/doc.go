// Package prefix is the prefix manager of RFC 8992: an Autonomic Service Agent
// (ASA), one in each device at the edge of a network, that holds a pool of IP
// prefixes to delegate. The origin starts with all prefixes of the network;
// the others start with none. Who runs short asks a peer for more, by
// negotiation of the objective PrefixManager, and who is asked gives from its
// own pool: nobody administers it. The origin also floods
// PrefixManager.Params, the length of the prefixes that a device of each role
// is to ask for.
//
// # Handing over a prefix
//
// RFC 8992 has the taker ask for a length (M_REQ_NEG), the giver offer a
// prefix (M_NEGOTIATE), and the taker accept it (M_END). The giver that does
// not hear the end cannot know whether the prefix is still its own. So the
// prefix managers of this package have one step more, which fits RFC 8992 and
// by which it is always the giver who decides, and the taker who can ask:
//
//	taker                                giver
//	M_REQ_NEG   /56             ------>  takes 2001:db8::/56 out of its pool
//	claims it                   <------  M_NEGOTIATE 2001:db8::/56
//	M_NEGOTIATE 2001:db8::/56   ------>  gives it
//	puts it in its pool         <------  M_END accept
//
// "Takes", "claims" and "gives" are durable before the next message is sent
// (see [Ledger]). What happens if either dies, or the connection breaks:
//
//   - Before the giver has given the prefix, it is the giver's. The prefix is
//     in doubt for it, neither in its pool nor anybody else's, because a taker
//     of another make could have accepted it. When the peer next confirms
//     something, it is known as one that owns nothing without the giver's
//     word, and what it did not confirm is back in the pool.
//   - After that it is the taker's, who may not have heard. It does not use
//     the prefix, but asks the giver, until it is told, with a request for just
//     this prefix (M_REQ_NEG 2001:db8::/56). The giver accepts if it gave it
//     (M_END accept). If not it declines, and from then on will not give it by
//     the old offer: then the taker drops its claim. It asks nothing else of
//     that giver before.
//
// So at any time a prefix is in one pool at most; and it is in one pool, or
// will be when both are back.
//
// Peers of another make, such as the prototype's pfxm3, do not know that step.
// They are found out by a request for a prefix that nobody gives, to which
// those of this package have an answer of their own, and their offers are
// accepted at once. Towards such a peer all is as safe as RFC 8992 allows: what
// the giver did not hear the end of stays in doubt, for ever or for the time in
// [Settings].
//
// # With tags
//
// The prototype's pfxm4 negotiates PrefixManagerT instead, whose values are prefixes with
// the tags of RFC 9164 and which is else the same. A prefix manager of this package
// answers to both, and asks by either.
//
// # Interfaces
//
// A router's prefix manager delegates a prefix of each family to each of its interfaces,
// and has a [Hook] do there what that means. Since a delegation is a record of the ledger,
// with the name of the interface, it is the same after a failure. A prefix goes back to the
// pool only when the hook has taken it off its interface.
//
// Peers are told apart by their addresses: there is one prefix manager in a
// device, as in RFC 8992, and its address and its journal belong together.
package prefix
