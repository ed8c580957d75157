-- A dissector of GRASP, the GeneRic Autonomic Signaling Protocol (RFC 8990), for
-- Wireshark 4 and tshark:
--
--   tshark -X lua_script:examples/wireshark/grasp.lua -r capture.pcap -Y grasp -V
--   wireshark -X lua_script:examples/wireshark/grasp.lua
--
-- or copy it to the folder of personal Lua plugins, which Help > About > Folders tells.
--
-- Over UDP it takes port 7017. Over TCP it takes port 7017 and the dynamic ports that
-- GRASP has told of: that from which a discovery came, to which responses go, and
-- those in the locators of responses. So it follows only what was captured from its
-- discovery on; elsewhere "Decode As" helps.

local grasp = Proto("grasp", "GeneRic Autonomic Signaling Protocol")

local PORT = 7017
local MAX_LENGTH = 1048576 -- of a message, in bytes: more is not waited for
local MAX_DEPTH = 32 -- of nested items
local MAX_ITEMS = 65536 -- of a message

local TYPES = {
    [0] = "M_NOOP", [1] = "M_DISCOVERY", [2] = "M_RESPONSE", [3] = "M_REQ_NEG", [4] = "M_REQ_SYN",
    [5] = "M_NEGOTIATE", [6] = "M_END", [7] = "M_WAIT", [8] = "M_SYNCH", [9] = "M_FLOOD", [99] = "M_INVALID",
}
local OPTIONS = {
    [100] = "O_DIVERT", [101] = "O_ACCEPT", [102] = "O_DECLINE", [103] = "O_IPv6_LOCATOR",
    [104] = "O_IPv4_LOCATOR", [105] = "O_FQDN_LOCATOR", [106] = "O_URI_LOCATOR",
}
local DIVERT, ACCEPT, DECLINE, IPV6, IPV4, FQDN, URI = 100, 101, 102, 103, 104, 105, 106
-- Those above 255 are of draft-carpenter-anima-grasp-rendezvous-01.
local PROTOCOLS = {
    [6] = "TCP", [17] = "UDP", [41] = "IPv6", [256] = "TLS", [257] = "DTLS", [258] = "QUIC", [259] = "HTTP",
}

-- The fields, by which packets can be filtered.
local f = {
    diagnostic = ProtoField.string("grasp.diagnostic", "Message in diagnostic notation"),
    type = ProtoField.uint64("grasp.type", "Type", base.DEC),
    session = ProtoField.uint32("grasp.session", "Session ID", base.DEC),
    initiator = ProtoField.ipv6("grasp.initiator", "Initiator"),
    initiator4 = ProtoField.ipv4("grasp.initiator4", "Initiator"),
    ttl = ProtoField.uint32("grasp.ttl", "TTL in ms", base.DEC),
    wait = ProtoField.uint32("grasp.wait", "Waiting time in ms", base.DEC),
    option = ProtoField.uint32("grasp.option", "Option", base.DEC, OPTIONS),
    address = ProtoField.ipv6("grasp.locator.ipv6", "Address"),
    address4 = ProtoField.ipv4("grasp.locator.ipv4", "Address"),
    fqdn = ProtoField.string("grasp.locator.fqdn", "FQDN"),
    uri = ProtoField.string("grasp.locator.uri", "URI"),
    protocol = ProtoField.uint32("grasp.locator.protocol", "Protocol", base.DEC, PROTOCOLS),
    port = ProtoField.uint32("grasp.locator.port", "Port", base.DEC),
    reason = ProtoField.string("grasp.reason", "Reason"),
    info = ProtoField.string("grasp.info", "Diagnostic data"),
    name = ProtoField.string("grasp.objective.name", "Name"),
    flags = ProtoField.uint64("grasp.objective.flags", "Flags", base.HEX),
    disc = ProtoField.bool("grasp.objective.flags.disc", "F_DISC, for discovery", 8, nil, 0x01),
    neg = ProtoField.bool("grasp.objective.flags.neg", "F_NEG, for negotiation", 8, nil, 0x02),
    synch = ProtoField.bool("grasp.objective.flags.synch", "F_SYNCH, for synchronization", 8, nil, 0x04),
    dry = ProtoField.bool("grasp.objective.flags.dry", "F_NEG_DRY, a dry run", 8, nil, 0x08),
    loops = ProtoField.uint8("grasp.objective.loop_count", "Loop count", base.DEC),
    value = ProtoField.string("grasp.objective.value", "Value"),
}
grasp.fields = f

local e = {
    malformed = ProtoExpert.new("grasp.malformed", "Not well-formed CBOR", expert.group.MALFORMED, expert.severity.ERROR),
    invalid = ProtoExpert.new("grasp.invalid", "Not a message of RFC 8990", expert.group.PROTOCOL, expert.severity.ERROR),
    unknown = ProtoExpert.new("grasp.unknown", "Unknown, and to be ignored", expert.group.UNDECODED, expert.severity.NOTE),
}
grasp.experts = e

-- Reading CBOR (RFC 8949) -------------------------------------------------------

-- A reader holds the bytes, where the next item begins, and how many items it
-- has read. What it reads are nodes: their place, major type, argument as a
-- UInt64 (num: as a number), and what they hold in items. If something is
-- wrong it raises {at, what}, and if more bytes are needed {more}.

local function wrong(at, what, ...)
    error({ at = at, what = string.format(what, ...) }, 0)
end

local function need(r, n)
    if r.at + n > r.len then
        error({ more = true, at = r.len, what = "cut short" }, 0)
    end
end

local function head(r)
    need(r, 1)
    local first = r.buf(r.at, 1):uint()
    local node = { at = r.at, major = math.floor(first / 32), info = first % 32 }
    local width = ({ [24] = 1, [25] = 2, [26] = 4, [27] = 8 })[node.info] or 0
    if node.info >= 28 and node.info <= 30 then
        wrong(r.at, "reserved first byte")
    end
    need(r, 1 + width)
    if width == 8 then
        node.arg = r.buf(r.at + 1, 8):uint64()
    elseif width > 0 then
        node.arg = UInt64(r.buf(r.at + 1, width):uint())
    else
        node.arg = UInt64(node.info)
    end
    node.num = math.floor(node.arg:tonumber()) -- Lua 5.4 tells integers from others
    node.open = node.info == 31
    if node.open and (node.major < 2 or node.major == 6) then
        wrong(r.at, "reserved first byte")
    end
    if node.major == 7 and node.info == 24 and node.num < 32 then
        wrong(r.at, "simple value in too many bytes")
    end
    r.at = r.at + 1 + width
    return node
end

local function is_utf8(s)
    local i = 1
    while i <= #s do
        local b, low, high, n = s:byte(i), 0x80, 0xbf, 0
        if b >= 0xc2 and b <= 0xdf then n = 1
        elseif b >= 0xe0 and b <= 0xef then n = 2
        elseif b >= 0xf0 and b <= 0xf4 then n = 3
        elseif b >= 0x80 then return false end
        if b == 0xe0 then low = 0xa0 elseif b == 0xed then high = 0x9f
        elseif b == 0xf0 then low = 0x90 elseif b == 0xf4 then high = 0x8f end
        for k = 1, n do
            local c = s:byte(i + k)
            if not c or c < low or c > high then return false end
            low, high = 0x80, 0xbf
        end
        i = i + n + 1
    end
    return true
end

local item

-- is_break takes the end of what has an indefinite length.
local function is_break(r)
    need(r, 1)
    if r.buf(r.at, 1):uint() ~= 0xff then return false end
    r.at = r.at + 1
    return true
end

local function take_string(r, node, depth)
    if not node.open then
        if node.num > MAX_LENGTH then wrong(node.at, "string of %s bytes", tostring(node.arg)) end
        need(r, node.num)
        node.raw = node.num == 0 and "" or r.buf(r.at, node.num):raw()
        r.at = r.at + node.num
        if node.major == 3 and not is_utf8(node.raw) then wrong(node.at, "text that is not UTF-8") end
        return
    end
    node.raw, node.items = "", {}
    while not is_break(r) do
        local piece = item(r, depth + 1)
        if piece.major ~= node.major or piece.open then wrong(piece.at, "piece of another kind of string") end
        node.raw = node.raw .. piece.raw
        table.insert(node.items, piece)
    end
end

function item(r, depth)
    if depth > MAX_DEPTH then wrong(r.at, "nested deeper than %d levels", MAX_DEPTH) end
    r.items = r.items + 1
    if r.items > MAX_ITEMS then wrong(r.at, "more than %d items", MAX_ITEMS) end
    local node = head(r)
    if node.major == 2 or node.major == 3 then
        take_string(r, node, depth)
    elseif node.major == 7 then
        if node.open then wrong(node.at, "unexpected break") end
    elseif node.major >= 4 then
        node.items = {}
        local per = node.major == 5 and 2 or 1
        local count = node.major == 6 and 1 or node.num * per
        if count > MAX_LENGTH and not node.open then wrong(node.at, "%s items", tostring(node.arg)) end
        while node.open and not is_break(r) or not node.open and #node.items < count do
            table.insert(node.items, item(r, depth + 1))
            if node.open and per == 2 then table.insert(node.items, item(r, depth + 1)) end
        end
    end
    node.len = r.at - node.at
    return node
end

-- read_item returns the item at an offset, or nil and what is wrong.
local function read_item(buf, at)
    local r = { buf = buf, at = at, len = buf:len(), items = 0 }
    local ok, got = pcall(item, r, 1)
    if ok then return got end
    if type(got) ~= "table" then error(got, 0) end -- a bug of this script
    if got.more and r.len - at >= MAX_LENGTH then
        return nil, { at = at, what = "longer than " .. MAX_LENGTH .. " bytes" }
    end
    return nil, got
end

-- Writing diagnostic notation (RFC 8949 section 8) ----------------------------------

local function float(buf, node)
    if node.info ~= 25 then
        return buf(node.at + 1, node.len - 1):float()
    end
    local exponent, fraction = math.floor(node.num / 1024) % 32, node.num % 1024
    local v
    if exponent == 0 then v = fraction * 2 ^ -24
    elseif exponent == 31 then v = fraction == 0 and math.huge or 0 / 0
    else v = (1024 + fraction) * 2 ^ (exponent - 25) end
    return node.num >= 32768 and -v or v
end

local function float_text(v)
    if v ~= v then return "NaN" end
    if v == math.huge then return "Infinity" end
    if v == -math.huge then return "-Infinity" end
    local s = string.format("%.17g", v)
    for digits = 1, 16 do
        local short = string.format("%." .. digits .. "g", v)
        if tonumber(short) == v then s = short break end
    end
    return s:find("[.e]") and s or s .. ".0"
end

local function quoted(s)
    return '"' .. s:gsub('[%c"\\\127]', function(c)
        if c == '"' or c == "\\" then return "\\" .. c end
        return string.format("\\u%04x", c:byte())
    end) .. '"'
end

local function hex(s)
    return "h'" .. s:gsub(".", function(c) return string.format("%02x", c:byte()) end) .. "'"
end

local SIMPLE = { [20] = "false", [21] = "true", [22] = "null", [23] = "undefined" }

local notation

local function list(buf, nodes, first)
    local out = {}
    for i = first or 1, #nodes do table.insert(out, notation(buf, nodes[i])) end
    return table.concat(out, ", ")
end

function notation(buf, node)
    local open = node.open and "_ " or ""
    if node.major == 0 then return tostring(node.arg) end
    if node.major == 1 then
        -- -1 - n, in whatever size: the largest has no place in 64 bits.
        if node.arg == UInt64.max() then return "-18446744073709551616" end
        return "-" .. tostring(node.arg + 1)
    end
    if node.major == 2 or node.major == 3 then
        if node.open then return "(_ " .. list(buf, node.items) .. ")" end
        return node.major == 2 and hex(node.raw) or quoted(node.raw)
    end
    if node.major == 4 then return "[" .. open .. list(buf, node.items) .. "]" end
    if node.major == 5 then
        local out = {}
        for i = 1, #node.items, 2 do
            table.insert(out, notation(buf, node.items[i]) .. ": " .. notation(buf, node.items[i + 1]))
        end
        return "{" .. open .. table.concat(out, ", ") .. "}"
    end
    if node.major == 6 then return tostring(node.arg) .. "(" .. notation(buf, node.items[1]) .. ")" end
    if node.info >= 25 then return float_text(float(buf, node)) end
    return SIMPLE[node.num] or "simple(" .. node.num .. ")"
end

-- Messages -------------------------------------------------------------------------

-- m is the message that is being dissected: buf, its tree, the root node, the
-- index of its next item, and where GRASP is spoken by what it says.

local function range(m, node) return m.buf(node.at, node.len) end

-- invalid ends the dissection of a message.
local function invalid(node, what, ...)
    error({ node = node, what = string.format(what, ...) }, 0)
end

local function next_item(m, holder, i, what)
    local node = holder.items[i]
    if not node then invalid(holder, "%s is missing", what) end
    return node
end

local function uint(node, what, limit)
    if node.major ~= 0 or limit and node.num > limit then
        invalid(node, "%s is not an unsigned integer%s", what, limit and string.format(" up to %.0f", limit) or "")
    end
    return node.num
end

local U32 = 4294967295

local function text(node, what)
    if node.major ~= 3 then invalid(node, "%s is not text", what) end
    return node.raw
end

-- The bytes of an address that has no pieces.
local function address_range(m, node, length)
    return m.buf(node.at + node.len - length, length)
end

local function add_address(m, tree, node, six, four, what)
    if node.major ~= 2 or (#node.raw ~= 16 and #node.raw ~= 4) then
        invalid(node, "%s is not an address of 4 or 16 bytes", what)
    end
    if node.open then
        tree:add(range(m, node), what .. ": " .. notation(m.buf, node))
        return nil
    end
    local r = address_range(m, node, #node.raw)
    tree:add(#node.raw == 16 and six or four, r)
    return tostring(#node.raw == 16 and r:ipv6() or r:ipv4())
end

local function is_null(node) return node.major == 7 and node.num == 22 end

-- option_number returns the number of an option, nil for what is none.
local function option_number(node)
    local first = node.major == 4 and node.items[1]
    return first and first.major == 0 and first.num
end

local function is_locator(number) return number and number >= IPV6 and number <= URI end

-- add_locator adds a locator, and remembers where GRASP is spoken if that is asked for.
local function add_locator(m, tree, node, spoken)
    local number = option_number(node)
    local sub = tree:add(range(m, node), OPTIONS[number] .. ": " .. notation(m.buf, node))
    sub:add(f.option, range(m, node.items[1]), number)
    local at = next_item(m, node, 2, "address of the locator")
    local address
    if number == IPV6 or number == IPV4 then
        local length = number == IPV6 and 16 or 4
        if at.major ~= 2 or #at.raw ~= length then
            invalid(at, "address of an %s is not %d bytes", OPTIONS[number], length)
        end
        address = add_address(m, sub, at, f.address, f.address4, "Address")
    else
        sub:add(number == FQDN and f.fqdn or f.uri, range(m, at), text(at, "name of the locator"))
    end
    local numbers = {}
    for i, what in ipairs({ "protocol", "port" }) do
        local n = next_item(m, node, 2 + i, what .. " of the locator")
        if is_null(n) then
            sub:add(range(m, n), (what == "port" and "Port" or "Protocol") .. ": null")
        else
            numbers[what] = uint(n, what, what == "port" and 65535 or 2147483647)
            sub:add(f[what], range(m, n), n.num)
        end
    end
    if #node.items > 4 then invalid(node.items[5], "locator has too many items") end
    if spoken and address and numbers.port then
        table.insert(m.spoken, address .. " " .. numbers.port)
    end
end

-- add_ignored adds what has no place in a message (RFC 8990 section 2.8.2).
local function add_ignored(m, tree, node)
    local number = option_number(node)
    local name = "Unknown item"
    if number then name = OPTIONS[number] or ("Option " .. tostring(node.items[1].arg)) end
    local sub = tree:add(range(m, node), name .. ": " .. notation(m.buf, node))
    if number and number <= U32 then sub:add(f.option, range(m, node.items[1]), number) end
    sub:add_proto_expert_info(e.unknown, name .. " has no place here, and is to be ignored")
end

-- add_flags adds flags by their bits, which are all in the last byte.
local function add_flags(m, tree, node)
    local sub = tree:add(f.flags, range(m, node), node.arg)
    local low = m.buf(node.at + node.len - 1, 1)
    for _, bit in ipairs({ f.disc, f.neg, f.synch, f.dry }) do sub:add(bit, low) end
    if node.num >= 16 then
        sub:add_proto_expert_info(e.unknown, "Flags that RFC 8990 does not have")
    end
end

local function add_objective(m, tree, node)
    if node.major ~= 4 then invalid(node, "objective is not an array") end
    local sub = tree:add(range(m, node), "Objective: " .. notation(m.buf, node))
    local name = next_item(m, node, 1, "name of the objective")
    sub:add(f.name, range(m, name), text(name, "name of the objective"))
    local flags = next_item(m, node, 2, "flags")
    uint(flags, "flags")
    add_flags(m, sub, flags)
    local loops = next_item(m, node, 3, "loop count")
    sub:add(f.loops, range(m, loops), uint(loops, "loop count", 255))
    local value = node.items[4]
    if value then sub:add(f.value, range(m, value), notation(m.buf, value)) end
    if #node.items > 4 then invalid(node.items[5], "objective has too many items") end
    m.info = m.info .. " " .. quoted(name.raw) .. (value and " " .. notation(m.buf, value) or "")
end

-- take_objective adds the objective that is due. Options before it are ignored.
local function take_objective(m, tree, holder)
    local node = next_item(m, holder, m.i, "objective")
    while option_number(node) do
        add_ignored(m, tree, node)
        m.i = m.i + 1
        node = next_item(m, holder, m.i, "objective")
    end
    m.i = m.i + 1
    add_objective(m, tree, node)
end

local function take_initiator(m)
    add_address(m, m.tree, next_item(m, m.root, 3, "initiator"), f.initiator, f.initiator4, "Initiator")
    m.i = 4
end

local function take_ttl(m)
    local node = next_item(m, m.root, 4, "ttl")
    m.tree:add(f.ttl, range(m, node), uint(node, "ttl", U32))
    m.i = 5
end

-- tolerate adds what is ignored if it is wrong: a locator of M_RESPONSE.
local function tolerate(m, tree, node)
    local ok, problem = pcall(add_locator, m, tree, node, true)
    if ok then return end
    if type(problem) ~= "table" then error(problem, 0) end
    tree:add_proto_expert_info(e.unknown, "Locator that is to be ignored: " .. problem.what)
end

local function take_divert(m, node)
    local sub = m.tree:add(range(m, node), "O_DIVERT: " .. notation(m.buf, node))
    sub:add(f.option, range(m, node.items[1]), DIVERT)
    for i = 2, #node.items do
        if is_locator(option_number(node.items[i])) then
            tolerate(m, sub, node.items[i])
        else
            add_ignored(m, sub, node.items[i])
        end
    end
end

local function is_objective(node)
    return node.major == 4 and node.items[1] and node.items[1].major == 3
end

local function take_response_options(m)
    next_item(m, m.root, m.i, "locator or divert")
    local objective
    while m.root.items[m.i] do
        local node = m.root.items[m.i]
        local number = option_number(node)
        m.i = m.i + 1
        if is_locator(number) then
            tolerate(m, m.tree, node)
            m.info = m.info .. " " .. OPTIONS[number]
        elseif number == DIVERT then
            take_divert(m, node)
            m.info = m.info .. " O_DIVERT"
        elseif is_objective(node) and not objective then
            objective = true
            add_objective(m, m.tree, node)
        else
            add_ignored(m, m.tree, node)
        end
    end
end

local function take_end_options(m)
    local outcome
    while m.root.items[m.i] do
        local node = m.root.items[m.i]
        local number = option_number(node)
        m.i = m.i + 1
        if number == ACCEPT or number == DECLINE then
            if outcome then invalid(node, "more than one accept or decline") end
            outcome = OPTIONS[number]
            m.info = m.info .. " " .. outcome
            local sub = m.tree:add(range(m, node), outcome .. ": " .. notation(m.buf, node))
            sub:add(f.option, range(m, node.items[1]), number)
            local reason = number == DECLINE and node.items[2]
            if reason then
                sub:add(f.reason, range(m, reason), text(reason, "reason"))
                m.info = m.info .. " " .. quoted(reason.raw)
            end
            local extra = node.items[number == DECLINE and 3 or 2]
            if extra then invalid(extra, "%s has too many items", outcome) end
        else
            add_ignored(m, m.tree, node)
        end
    end
    if not outcome then invalid(m.root, "neither accept nor decline") end
end

local function take_flooded(m)
    local any
    while m.root.items[m.i] do
        local node = m.root.items[m.i]
        m.i = m.i + 1
        if node.major ~= 4 or not node.items[1] or node.items[1].major ~= 4 then
            add_ignored(m, m.tree, node)
        else
            any = true
            local sub = m.tree:add(range(m, node), "Flooded: " .. notation(m.buf, node))
            local rest = m.i
            m.i = 1
            take_objective(m, sub, node)
            local locator = next_item(m, node, m.i, "locator")
            if is_locator(option_number(locator)) then
                add_locator(m, sub, locator)
            elseif option_number(locator) then
                add_ignored(m, sub, locator)
            elseif locator.major == 4 and #locator.items == 0 then
                sub:add(range(m, locator), "No locator")
            else
                invalid(locator, "neither locator nor empty array")
            end
            if node.items[m.i + 1] then invalid(node.items[m.i + 1], "objective with locator has too many items") end
            m.i = rest
        end
    end
    if not any then invalid(m.root, "no objective") end
end

local function with_objective(m) take_objective(m, m.tree, m.root) end

-- What follows type and session ID.
local BODIES = {
    [1] = function(m) take_initiator(m) with_objective(m) end,
    [2] = function(m) take_initiator(m) take_ttl(m) take_response_options(m) end,
    [3] = with_objective,
    [4] = with_objective,
    [5] = with_objective,
    [6] = take_end_options,
    [7] = function(m)
        local node = next_item(m, m.root, 3, "waiting time")
        m.tree:add(f.wait, range(m, node), uint(node, "waiting time", U32))
        m.info = m.info .. " " .. node.num .. " ms"
        m.i = 4
    end,
    [8] = with_objective,
    [9] = function(m) take_initiator(m) take_ttl(m) take_flooded(m) end,
    [99] = function(m)
        local node = m.root.items[3]
        if node then m.tree:add(f.info, range(m, node), notation(m.buf, node)) end
        m.i = 4
    end,
}

local function take_message(m)
    if m.root.major ~= 4 then invalid(m.root, "message is not an array") end
    local node = next_item(m, m.root, 1, "message type")
    local number = uint(node, "message type")
    local name = TYPES[number]
    m.tree:add(f.type, range(m, node), node.arg):append_text(" (" .. (name or "unknown") .. ")")
    m.info = name or ("Message type " .. tostring(node.arg))
    m.tree:append_text(", " .. m.info)
    if not name then invalid(node, "unknown message type %s", tostring(node.arg)) end
    m.type = number
    if number == 0 then return end
    local session = next_item(m, m.root, 2, "session ID")
    m.tree:add(f.session, range(m, session), uint(session, "session ID", U32))
    m.tree:append_text(", session " .. tostring(session.arg))
    m.i = 3
    BODIES[number](m)
    while m.root.items[m.i] do -- what follows a message is ignored, too
        add_ignored(m, m.tree, m.root.items[m.i])
        m.i = m.i + 1
    end
end

-- Conversations -----------------------------------------------------------------------

-- spoken holds addresses with ports where GRASP is spoken over TCP.
local spoken = {}

function grasp.init() spoken = {} end

local function key(address, port) return tostring(address) .. " " .. port end

-- add_message dissects a message of which all bytes are there.
local function add_message(buf, pinfo, tree, root)
    local m = { buf = buf, root = root, spoken = {}, info = "Invalid message", i = 2 }
    m.tree = tree:add(grasp, buf(root.at, root.len))
    m.tree:add(f.diagnostic, buf(root.at, root.len), notation(buf, root)):set_generated()
    local ok, problem = pcall(take_message, m)
    if not ok then
        if type(problem) ~= "table" then error(problem, 0) end
        m.tree:add_proto_expert_info(e.invalid, string.format("%s, at byte %d of the message", problem.what, problem.node.at - root.at))
        m.info = m.info .. " [wrong: " .. problem.what .. "]"
    end
    if m.type == 1 then
        spoken[key(pinfo.src, pinfo.src_port)] = true
    elseif ok then
        for _, at in ipairs(m.spoken) do spoken[at] = true end
    end
    return m.info
end

local function add_malformed(buf, tree, at, problem)
    local sub = tree:add(grasp, buf(at), "GRASP, not well-formed")
    sub:add_proto_expert_info(e.malformed, string.format("%s, at byte %d of the message", problem.what, problem.at - at))
    return "[malformed: " .. problem.what .. "]"
end

local function show(pinfo, infos)
    pinfo.cols.protocol = "GRASP"
    if #infos > 0 then pinfo.cols.info:set(table.concat(infos, "; ")) end
end

-- segments returns the messages of a packet that the system had yet to cut into datagrams
-- when it was captured, as on a relay that sends them: all are multicasts and equally long.
local function segments(buf, first)
    local all = { first }
    while #all * first.len < buf:len() do
        local root = read_item(buf, #all * first.len)
        local kind = root and root.len == first.len and root.items and root.items[1]
        if not kind or kind.major ~= 0 or kind.num ~= 1 and kind.num ~= 9 then return nil end
        table.insert(all, root)
    end
    return all
end

-- A datagram is one message.
local function datagram(buf, pinfo, tree)
    local root, problem = read_item(buf, 0)
    local all = root and segments(buf, root)
    if all then
        local infos = {}
        for _, one in ipairs(all) do table.insert(infos, add_message(buf, pinfo, tree, one)) end
        show(pinfo, infos)
        return buf:len()
    end
    if root then
        problem = { at = root.len, what = (buf:len() - root.len) .. " bytes after the message" }
    end
    show(pinfo, { add_malformed(buf, tree, 0, problem) })
    return buf:len()
end

-- A connection is messages one after the other, however it is cut into segments.
local function stream(buf, pinfo, tree)
    local at, infos = 0, {}
    while at < buf:len() do
        local root, problem = read_item(buf, at)
        if root then
            table.insert(infos, add_message(buf, pinfo, tree, root))
            at = at + root.len
        elseif problem.more and pinfo.can_desegment > 0 then
            pinfo.desegment_offset = at
            pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
            break
        else
            table.insert(infos, add_malformed(buf, tree, at, problem))
            break
        end
    end
    show(pinfo, infos)
    return buf:len()
end

local PORT_TYPE_TCP = 2

local function dissect(buf, pinfo, tree)
    if buf:len() == 0 then return 0 end
    if pinfo.port_type == PORT_TYPE_TCP then return stream(buf, pinfo, tree) end
    return datagram(buf, pinfo, tree)
end

grasp.dissector = dissect

-- Connections on dynamic ports.
local function heuristic(buf, pinfo, tree)
    if not spoken[key(pinfo.src, pinfo.src_port)] and not spoken[key(pinfo.dst, pinfo.dst_port)] then
        return false
    end
    pinfo.conversation = grasp
    dissect(buf, pinfo, tree) -- not grasp.dissector, which could not ask for more segments
    return true
end

grasp:register_heuristic("tcp", heuristic)
DissectorTable.get("udp.port"):add(PORT, grasp)
DissectorTable.get("tcp.port"):add(PORT, grasp)
