-- wrk: POST one body over and over; count every answer whose status is not the expected one.
-- The body, the key and the expected status come by file and environment, never by the command line.

local threads = {}
local expected = tonumber(os.getenv("BENCH_EXPECTED"))

function setup(thread)
  table.insert(threads, thread)
end

function init()
  accepted, refused = 0, 0
  local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  local authorization = os.getenv("BENCH_AUTHORIZATION")
  if authorization and authorization ~= "" then
    wrk.headers["Authorization"] = authorization
  end
  whole = wrk.format()
end

function request()
  return whole
end

function response(status)
  if status == expected then accepted = accepted + 1 else refused = refused + 1 end
end

function done(summary, latency)
  local good, bad = 0, 0
  for _, thread in ipairs(threads) do
    good = good + thread:get("accepted")
    bad = bad + thread:get("refused")
  end
  local errors = summary.errors
  bad = bad + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    'RESULT {"accepted": %d, "refused": %d, "seconds": %.6f, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f}\n',
    good, bad, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
