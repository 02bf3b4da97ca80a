-- Writing what changed, and the commands.


local function create(seed)
  state = {
    id = string.sub(redis.sha1hex(seed .. time[1] .. time[2]), 1, 16),
    version = 0, began_at = 0, number = 0, ordered = 0, earliest = now + 3600, workers = 0, renewed = 0,
    dirty = true, new = true, old = {},
  }
  orders = {}
end

-- What is missing now was lost. Called before the first write, and where a key is written: so its type is tried, too.
local function check_keys()
  if state.new then
    call("DEL", key("workers"), key("hosts"), key("changed"), key("trouble"), key("orders"))
    call("HSET", key("workers"), "", "")
    call("HSET", key("hosts"), "", "")
    call("ZADD", key("changed"), -1, "")
    call("ZADD", key("trouble"), -1, "")
    call("HSET", key("orders"), "", "")
  elseif next(touched) ~= nil then
    if call("ZCARD", key("changed")) == 0 or call("ZCARD", key("trouble")) == 0 then lost() end
  end
end

local function packed_tally(h)
  return pack(">I4I4I4I4ddd", h.accusers, h.failing, h.fine, h.round, h.since, h.began, h.failed_at) .. h.cause
end

local function write_hosts()
  local rows, changed, trouble, well = {}, {}, {}, {}
  for origin, bumped in pairs(touched) do
    local h = hosts[origin]
    rows[#rows + 1] = origin
    rows[#rows + 1] = pack(">ddd", h.version, h.look_at, h.at) .. packed_tally(h)
    if bumped or h.version == 0 then
      changed[#changed + 1] = h.version
      changed[#changed + 1] = origin
    end
    if h.accusers > 0 then
      if bumped then
        trouble[#trouble + 1] = h.version
        trouble[#trouble + 1] = origin
      end
    elseif h.listed then
      well[#well + 1] = origin
    end
  end
  in_parts("HSET", "hosts", rows)
  in_parts("ZADD", "changed", changed)
  in_parts("ZADD", "trouble", trouble)
  in_parts("ZREM", "trouble", well)
  local old = {}
  for _, origin in ipairs(state.old) do
    if not hosts[origin] then old[#old + 1] = origin end
  end
  in_parts("HDEL", "hosts", old)
  in_parts("ZREM", "changed", old)
end

local function write_said(worker)
  local set, removed = {}, {}
  for origin, view in pairs(own) do
    if view then
      set[#set + 1] = origin
      set[#set + 1] = view
    else
      removed[#removed + 1] = origin
    end
  end
  if #set + #removed == 0 then return end
  local name = "said:" .. worker
  if not spoke[worker] then
    call("HSET", key("workers"), "+" .. worker, "")
    set[#set + 1] = ""
    set[#set + 1] = ""
  end
  in_parts("HDEL", name, removed)
  in_parts("HSET", name, set)
  call("EXPIRE", key(name), KEPT)
end

local function write_orders()
  for name, o in pairs(orders or {}) do
    if not in_force(o) then
      call("HDEL", key("orders"), name)
    elseif o.dirty then
      call("HSET", key("orders"), name, pack(ORDER, o.kind, o.number, o.version, o.ends, o.dropped) .. o.texts)
    end
  end
end

-- Once an hour, by the first worker to come: nothing of ours is kept for ever, and nothing in use is lost.
local function put_off()
  for _, name in ipairs(KEYS_OF_ALL) do call("EXPIRE", key(name), KEPT) end
  for worker in pairs(labels or {}) do call("EXPIRE", key("said:" .. worker), KEPT) end
  state.renewed, state.dirty = math.floor(now), true
end

local function write_state()
  if not state.dirty then return end
  local s = state
  local text = string.format(
    "%s %.0f %.0f %.0f %.6f %d %.0f", s.id, s.version, s.number, s.ordered, s.earliest, s.workers, s.renewed
  )
  call("SET", KEYS[1], text, "EX", KEPT)
end

local function write(worker)
  check_keys()
  write_hosts()
  for _, other in ipairs(gone) do
    call("HDEL", key("workers"), "-" .. other, "+" .. other)
    call("DEL", key("said:" .. other))
  end
  if worker then
    write_said(worker)
    if call("HSET", key("workers"), "-" .. worker, worker_row) == 1 then
      state.workers, state.dirty = state.workers + 1, true
    end
  end
  write_orders()
  if state.new or state.renewing then put_off() end
  write_state()
end

-- == commands =======================================================================================================

-- In which round a host was is remembered of so many hosts; beyond that of those that were in trouble last.
local function forget_old_hosts()
  local count = call("ZCARD", key("changed")) - 1
  if count <= HOSTS_KEPT then return end
  local origins = call("ZRANGE", key("changed"), 1, math.min(count - HOSTS_KEPT, AT_ONCE))
  load_hosts(origins)
  for _, origin in ipairs(origins) do
    if not hosts[origin] or hosts[origin].accusers == 0 then
      hosts[origin] = false
      state.old[#state.old + 1] = origin
    end
  end
end

-- What changed after a version, the oldest change first; or all that is in trouble, and what changed just now.
local function changed_hosts(everything, since, most)
  local origins = {}
  local changed_here = 0
  for _ in pairs(touched) do changed_here = changed_here + 1 end
  if not state.new and (everything or since < state.version) then
    local index = key(everything and "trouble" or "changed")
    local from = everything and "0" or "(" .. integer(since)
    local found = call("ZRANGEBYSCORE", index, from, "+inf", "LIMIT", 0, most + 1 + changed_here)
    for _, origin in ipairs(found) do
      if not touched[origin] then origins[#origins + 1] = origin end
    end
  end
  for version = state.began_at + 1, state.version do
    local origin = news[version] -- nil of an order
    if origin and hosts[origin].version == version then origins[#origins + 1] = origin end
  end
  return origins
end

local function tally_of(origin, raws)
  local h = hosts[origin]
  if h then
    return packed_tally(h), h.version
  end
  local raw = raws[origin]
  if not raw then lost() end
  if #raw < HOST_SIZE then foreign("hosts") end
  return string.sub(raw, TALLY_FROM), (unpack_(">d", raw))
end

local function add_hosts(answer, origins, most)
  local wanted = {}
  for i = 1, math.min(most, #origins) do
    if not hosts[origins[i]] then wanted[#wanted + 1] = origins[i] end
  end
  local raws, version = read_fields("hosts", wanted), nil
  for i = 1, math.min(most, #origins) do
    answer[#answer + 1] = origins[i]
    answer[#answer + 1], version = tally_of(origins[i], raws)
  end
  return math.min(most, #origins), version or infinity
end

-- How many were added; and up to which version they are told, where an order of the same name has to wait.
local function add_orders(answer, everything, since)
  if state.ordered == 0 or not (everything or since < state.ordered) then return 0, infinity end
  load_orders()
  local due, told_to, count = {}, infinity, 0
  for place, o in pairs(orders) do
    if in_force(o) and (everything and o.kind ~= "x" or not everything and o.version > since) then
      local name = string.sub(place, 2)
      local other = due[name]
      if other then told_to = math.min(told_to, math.max(o.version, other.version) - 1) end
      if not other or o.version < other.version then due[name] = o end
    end
  end
  for name, o in pairs(due) do
    answer[#answer + 1] = name
    answer[#answer + 1] = pack(">c1dd", o.kind, o.number, o.ends < infinity and o.ends - now or -1) .. o.texts
    count = count + 1
  end
  return count, told_to
end

-- `at` is where ARGV goes on with a number of pairs: these, and where it goes on after them.
local function pairs_from(at)
  local names, values = {}, {}
  local count = tonumber(ARGV[at])
  for i = at + 1, at + 2 * count, 2 do
    names[#names + 1] = ARGV[i]
    values[#values + 1] = ARGV[i + 1]
  end
  return names, values, at + 1 + 2 * count
end

-- What the worker said before of these.
local function views_before(worker, origins)
  local was_there = not state.new
  for _, other in ipairs(gone) do was_there = was_there and other ~= worker end
  spoke = { [worker] = was_there and call("HEXISTS", key("workers"), "+" .. worker) == 1 }
  local before = {}
  if spoke[worker] then
    local fields = { "" }
    for _, origin in ipairs(origins) do fields[#fields + 1] = origin end
    before = read_fields("said:" .. worker, fields)
    if not before[""] then lost() end
    for origin, view in pairs(before) do
      if origin ~= "" and view and #view < VIEW_SIZE then foreign("said") end
    end
  end
  return before
end

local function sync()
  local worker, label, ttl, since, store = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
  local most, renew = tonumber(ARGV[7]), ARGV[8] == "1"
  local origins, views, at = pairs_from(9)
  local looked, seconds, after = pairs_from(at)
  local names, told = pairs_from(after)
  if not state then create(worker) end
  local everything = since < 0 or store ~= state.id or since > state.version
  if not state.new then
    state.renewing = renew or now - state.renewed >= RENEWED_EVERY
    sweep(state.renewing)
    if state.renewing then forget_old_hosts() end
    load_hosts(origins)
    load_hosts(looked)
  end
  local before = #origins > 0 and views_before(worker, origins) or {}
  for i, origin in ipairs(origins) do take_view(origin, views[i], before[origin]) end
  local granted = {}
  for i, origin in ipairs(looked) do
    local h = hosts[origin]
    if h and h.accusers > 0 and now >= h.look_at then
      h.look_at = now + tonumber(seconds[i])
      touched[origin] = touched[origin] or false
      granted[#granted + 1] = origin
    end
  end
  if #names > 0 or renew then load_orders() end
  for i, name in ipairs(names) do take_order(name, told[i]) end
  if renew then
    for _, o in pairs(orders) do
      if o.kind == "i" and o.ends == infinity and in_force(o) then o.dropped, o.dirty = now + KEPT, true end
    end
  end
  worker_row = pack(">d", now + ttl) .. label
  if now + ttl < state.earliest then state.earliest, state.dirty = now + ttl, true end

  local answer = { "" }
  local changed = changed_hosts(everything, since, most)
  local told_hosts, told_to = add_hosts(answer, changed, most)
  for _, origin in ipairs(late) do
    answer[#answer + 1] = origin
    answer[#answer + 1] = tally_of(origin)
  end
  local told_orders, orders_to = add_orders(answer, everything, since)
  for _, origin in ipairs(granted) do answer[#answer + 1] = origin end
  write(worker)
  if #changed <= most then told_to = state.version end
  told_to = math.min(told_to, orders_to)
  answer[1] = string.format(
    "%s %.0f %.6f %d %d %d %d %d",
    state.id, told_to, now, state.workers, told_to < state.version and 1 or 0, everything and 1 or 0,
    told_hosts + #late, told_orders
  )
  return answer
end

local function order()
  if not state then create(ARGV[2]) else sweep() end
  load_orders()
  local number = take_order(ARGV[2], ARGV[3])
  write()
  return integer(number)
end

local function leave()
  if not state or call("HEXISTS", key("workers"), "-" .. ARGV[2]) == 0 then return 0 end
  forget_worker(ARGV[2], call("HEXISTS", key("workers"), "+" .. ARGV[2]) == 1)
  write()
  return 1
end

-- Whose end has passed is left out, but nothing is written.
local function overview()
  local answer = { "" }
  local hosts_there, orders_there, workers = 0, 0, {}
  if state then
    sweep(true)
    local shown = {}
    for _, origin in ipairs(changed_hosts(true, -1, ALL_HOSTS)) do
      if not hosts[origin] or hosts[origin].accusers > 0 then shown[#shown + 1] = origin end
    end
    hosts_there = (add_hosts(answer, shown, ALL_HOSTS))
    orders_there = (add_orders(answer, true, -1))
    for worker, label in pairs(labels) do
      answer[#answer + 1] = worker
      answer[#answer + 1] = label
    end
  end
  answer[1] = string.format("%.6f %d %d", now, hosts_there, orders_there)
  return answer
end

local commands = { sync = sync, order = order, leave = leave, overview = overview }

local function run(empty)
  hosts, touched, gone, own, late, news = {}, {}, {}, {}, {}, {}
  orders, labels, spoke, worker_row, state = nil, nil, {}, nil, nil
  if not empty then state = read_state() end
  return commands[ARGV[1]]()
end

local done, answer = pcall(run, false)
if not done and type(answer) == "string" and string.find(answer, "LOST", 1, true) then
  -- Begin anew: each worker finds another id, and tells all that it has to say.
  return run(true)
end
if not done then
  if type(answer) == "table" then return answer end
  return redis.error_reply(answer)
end
return answer
