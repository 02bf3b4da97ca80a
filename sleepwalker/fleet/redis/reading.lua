-- What happens in the server, as one step: no other command comes between. Everything is read before anything is
-- written, so data that is not ours ends the script before it changed something.
--
-- Keys, beside the one that is given, `...:state`; all are in its slot:
--   state           text: id, version, highest number of an order, version of the latest order, a moment before which no
--                   worker's end is due, number of workers, when times to live were put off last
--   workers         hash: - and the worker -> its end, its label; + and the worker, once it has said something
--   hosts           hash: origin -> a record, see HOST
--   changed         sorted set: origin by the version at which it last changed
--   trouble         likewise, of the hosts that do not answer some worker
--   orders          hash: - or x (of a reset) and the name -> a record, see ORDER
--   said:<worker>   hash: origin -> what that worker says of it, see VIEW
-- Each has a member "", so that it never gets empty: its time to live is not lost, and where it is missing that shows.
--
-- A view counts where its moment is the host's `since`: so all views of a host are dropped by changing that.

-- version, look_at, changed at, accusers, failing, fine, round, since, began, failed_at; then the cause
local HOST = ">dddI4I4I4I4ddd"
local HOST_SIZE, TALLY_FROM = 64, 25 -- what workers hear of a record begins with `accusers`
-- b (broken), g (failing) or f (fine), since, began or when it was said; then the cause
local VIEW, VIEW_SIZE = ">c1dd", 17
local ORDER, ORDER_SIZE = ">c1dddd", 33 -- kind, number, version, end (infinity: none), dropped at; then texts
local AT_ONCE = 1000 -- members for one command: Lua cannot unpack many more
local RENEWED_EVERY = 3600
local HOSTS_KEPT = 20000
local KEYS_OF_ALL = { "workers", "hosts", "changed", "trouble", "orders" }

local call, pack, unpack_ = redis.call, struct.pack, struct.unpack
local infinity = math.huge
local base = string.sub(KEYS[1], 1, -6)

local time = call("TIME")
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local state, hosts, touched, orders, labels, spoke
local gone, own, late, news, worker_row

local function key(name)
  return base .. name
end

local function foreign(name)
  error("FOREIGN " .. name)
end

-- A key is missing that was there: evicted, or deleted by hand. What is left makes no sense.
local function lost()
  error("LOST")
end

local function integer(number)
  return string.format("%.0f", number)
end

-- Several members at once, in as many commands as that takes.
local function in_parts(command, name, members)
  for from = 1, #members, AT_ONCE do
    call(command, key(name), unpack(members, from, math.min(from + AT_ONCE - 1, #members)))
  end
end

local function read_state()
  local raw = call("GET", KEYS[1])
  if not raw then return nil end
  local id, version, number, ordered, earliest, workers, renewed =
    string.match(raw, "^(%x+) (%d+) (%d+) (%d+) (%d+%.%d+) (%d+) (%d+)$")
  if not id then foreign("state") end
  return {
    id = id, version = tonumber(version), began_at = tonumber(version),
    number = tonumber(number), ordered = tonumber(ordered),
    earliest = tonumber(earliest), workers = tonumber(workers), renewed = tonumber(renewed), old = {},
  }
end

local function read_host(raw)
  if #raw < HOST_SIZE then foreign("hosts") end
  local h = { cause = string.sub(raw, HOST_SIZE + 1) }
  h.version, h.look_at, h.at, h.accusers, h.failing, h.fine, h.round, h.since, h.began, h.failed_at = unpack_(HOST, raw)
  h.listed = h.accusers > 0
  return h
end

-- Several fields of a hash: value or false by field.
local function read_fields(name, fields)
  local found = {}
  for from = 1, #fields, AT_ONCE do
    local to = math.min(from + AT_ONCE - 1, #fields)
    local values = call("HMGET", key(name), unpack(fields, from, to))
    for i, value in ipairs(values) do found[fields[from + i - 1]] = value end
  end
  return found
end

local function load_hosts(origins)
  local missing = {}
  for _, origin in ipairs(origins) do
    if hosts[origin] == nil then missing[#missing + 1] = origin end
  end
  for origin, raw in pairs(read_fields("hosts", missing)) do
    hosts[origin] = raw and read_host(raw)
  end
end

local function load_orders()
  if orders then return end
  orders = {}
  local rows = call("HGETALL", key("orders"))
  if #rows == 0 then lost() end
  for i = 1, #rows, 2 do
    if rows[i] ~= "" then
      local raw = rows[i + 1]
      if #raw < ORDER_SIZE then foreign("orders") end
      local o = { texts = string.sub(raw, ORDER_SIZE + 1) }
      o.kind, o.number, o.version, o.ends, o.dropped = unpack_(ORDER, raw)
      orders[rows[i]] = o
    end
  end
end

local function read_said(worker)
  local said, origins = {}, {}
  local rows = call("HGETALL", key("said:" .. worker))
  for i = 1, #rows, 2 do
    if rows[i] ~= "" then
      if #rows[i + 1] < VIEW_SIZE then foreign("said") end
      origins[#origins + 1] = rows[i]
      said[rows[i]] = rows[i + 1]
    end
  end
  return said, origins, #rows > 0
end
