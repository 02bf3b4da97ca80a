-- What workers and operators say, and what it makes of the state: in memory only.


local function bump(origin, h)
  state.version = state.version + 1
  h.version, h.at = state.version, now
  touched[origin], news[state.version] = true, origin
  state.dirty = true
end

local function drop_views(h)
  h.accusers, h.failing, h.fine, h.since, h.began, h.failed_at, h.cause = 0, 0, 0, infinity, infinity, -infinity, ""
end

-- Take a view out of the counts: whether it was in them.
local function uncount(h, view)
  if not view then return false end
  local opinion, since = unpack_(VIEW, view)
  if since ~= h.since then return false end
  if opinion == "f" then
    h.fine = math.max(h.fine - 1, 0)
  else
    h.accusers = h.accusers - 1
    if opinion == "g" then h.failing = math.max(h.failing - 1, 0) end
  end
  if h.accusers <= 0 then drop_views(h) end
  return true
end

local function forget_worker(worker, has_spoken)
  local said, origins, there = read_said(worker)
  if has_spoken and not there then lost() end
  load_hosts(origins)
  for _, origin in ipairs(origins) do
    local h = hosts[origin]
    if h and uncount(h, said[origin]) then bump(origin, h) end
  end
  gone[#gone + 1] = worker
  state.workers = math.max(state.workers - 1, 0)
  state.dirty = true
end

-- Workers whose end has passed are gone. All are only looked at when one can be due.
local function sweep(force)
  if not force and now < state.earliest then return end
  local rows = call("HGETALL", key("workers"))
  if #rows == 0 then lost() end
  local earliest, present, dead = now + 3600, 0, {}
  labels, spoke = {}, {}
  for i = 1, #rows, 2 do
    local kind, worker, row = string.sub(rows[i], 1, 1), string.sub(rows[i], 2), rows[i + 1]
    if kind == "+" then
      spoke[worker] = true
    elseif kind == "-" then
      if #row < 8 then foreign("workers") end
      local ends = unpack_(">d", row)
      present = present + 1
      if ends <= now then
        dead[#dead + 1] = worker
      else
        labels[worker] = string.sub(row, 9)
        earliest = math.min(earliest, ends)
      end
    end
  end
  state.workers, state.earliest, state.dirty = present, earliest, true
  for _, worker in ipairs(dead) do forget_worker(worker, spoke[worker]) end
end

-- A view of the host's own round. Whether it changed anything.
local function set_view(origin, h, opinion, failed, began, cause, before)
  local was, since = "", nil
  if before then was, since = unpack_(VIEW, before) end
  if since ~= h.since then was = "" end
  if opinion == "b" or opinion == "g" then
    if h.accusers == 0 then h.since, h.began = now, began end
    local new = was ~= opinion
    if new then
      if was == "f" then h.fine = math.max(h.fine - 1, 0) end
      if was == "g" then h.failing = math.max(h.failing - 1, 0) end
      if was == "" or was == "f" then h.accusers = h.accusers + 1 end
      if opinion == "g" then h.failing = h.failing + 1 end
    end
    failed = failed and opinion == "b"
    if not (new or failed) then return false end
    h.failed_at, h.cause = now, cause
    own[origin] = pack(VIEW, opinion, h.since, began) .. cause
    return true
  elseif opinion == "f" and h.accusers > 0 and was ~= "f" then
    uncount(h, before)
    own[origin] = false
    if h.accusers > 0 then -- else it was the only accuser, and no other worker is left to contradict it
      h.fine = h.fine + 1
      own[origin] = pack(VIEW, "f", h.since, now)
    end
    return true
  elseif opinion == "-" then
    own[origin] = false
    return uncount(h, before)
  end
  return false
end

-- `touched` becomes true of a host that changed, and false of one whose record is to be written and that is no news.
local function take_view(origin, said, before)
  local opinion, flags, round, lasted = unpack_(">c1BI4d", said)
  local cause = string.sub(said, 15)
  local failed, back, answered = flags % 2 == 1, math.floor(flags / 2) % 2 == 1, flags >= 4
  local h = hosts[origin]
  if not h then
    if opinion ~= "b" and opinion ~= "g" and not back then return end
    h = { version = 0, look_at = 0, at = now, round = round }
    drop_views(h)
    hosts[origin], touched[origin] = h, false
  elseif round < h.round then
    late[#late + 1] = origin
    return
  end
  local changed = false
  if round > h.round then
    changed = h.accusers > 0
    drop_views(h)
    h.round = round
    touched[origin] = touched[origin] or false
  end
  if not back then
    changed = set_view(origin, h, opinion, failed, now - lasted, cause, before) or changed
    if answered and h.accusers > 0 then
      back = h.failed_at == -infinity -- another look was answered before, and none failed since
      h.failed_at, changed = -infinity, true
    end
  end
  if back and h.accusers > 0 then
    drop_views(h)
    h.round, h.look_at = h.round + 1, 0
    changed = true
  end
  if changed then bump(origin, h) end
end

local function in_force(o)
  return now < math.min(o.ends, o.dropped)
end

-- A reset has a place of its own: it ends neither an isolation nor a restore.
local function place_of(name, kind)
  return (kind == "x" and "x" or "-") .. name
end

local function put_order(place, o)
  state.version, state.number = state.version + 1, state.number + 1
  state.ordered, state.dirty = state.version, true
  o.version, o.number, o.dirty = state.version, o.number or state.number, true
  orders[place] = o
end

local function take_order(name, said)
  local kind, number, left = unpack_(">c1dd", said)
  local place = place_of(name, kind)
  local ends, dropped = infinity, now + (kind == "i" and KEPT or kind == "r" and RESTORED or RESET)
  if left >= 0 then ends = now + left end
  local o = { kind = kind, ends = ends, dropped = dropped, texts = string.sub(said, 18) }
  if number > 0 then -- one that a store lost and is told again
    if number > state.number then state.number, state.dirty = number, true end
    local there = orders[place]
    if not in_force(o) then return number end
    if there and in_force(there) then
      if there.number >= number then return there.number end
      o, there.number = there, nil -- the store's came later than the loss, and must outrank it for all
    else
      o.number = number
      state.number = state.number - 1
    end
  end
  put_order(place, o)
  return o.number
end
