-- Prints wrk's totals as one line of key=value pairs: exact numbers, where wrk's own report rounds.
function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      "TOTALS requests=%d duration_us=%d p50_us=%d p99_us=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
