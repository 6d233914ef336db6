-- What wrk sends: one request repeatedly, or one for each token of a list.
--
-- Arguments of init: the file of the request, in which "{token}" stands for the token; the file of the
-- tokens, 32 characters each, or "-"; the file of the order in which they are sent (32-bit numbers
-- from 0), or "-" for sequential order; the position in that order to start at.
-- If the request contains "{path}", the file of the tokens has lines "PATH TOKEN" instead.

local ffi = require("ffi")
local LENGTH = 32

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

-- Returns a function that iterates over the positions of the order.
local function turns(path, count, start)
    local order, length = nil, count
    if path ~= "-" then
        local text = read(path)
        keep_order = text
        order = ffi.cast("const uint32_t *", text)
        length = #text / 4
    end
    local at = start % length
    return function()
        local place = at
        at = at + 1
        if at == length then at = 0 end
        if order then return order[place] end
        return place
    end
end

local function of_lines(template, text, path, start)
    local requests = {}
    for route, token in text:gmatch("(%S+) (%S+)\n") do
        local line = template:gsub("{path}", route, 1):gsub("{token}", token, 1)
        requests[#requests + 1] = line
    end
    local next_turn = turns(path, #requests, start)
    return function() return requests[next_turn() + 1] end
end

local function of_tokens(template, text, path, start)
    local from, to = template:find("{token}", 1, true)
    local head, tail = template:sub(1, from - 1), template:sub(to + 1)
    keep_tokens = text
    local tokens = ffi.cast("const char *", text)
    local next_turn = turns(path, #text / LENGTH, start)
    return function() return head .. ffi.string(tokens + next_turn() * LENGTH, LENGTH) .. tail end
end

function init(args)
    local template = read(args[1])
    local start = tonumber(args[4])
    if args[2] == "-" then
        request = function() return template end
    elseif template:find("{path}", 1, true) then
        request = of_lines(template, read(args[2]), args[3], start)
    else
        request = of_tokens(template, read(args[2]), args[3], start)
    end
end

-- Replaced by init; it must exist for wrk to call it for each request.
function request()
    return nil
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout, summary.duration,
        latency:percentile(50), latency:percentile(99)))
end
