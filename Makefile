# What a developer types. `.ci/run` calls `lint` and `test`; docs/performance.md explains `compare`.
.PHONY: test lint compare

test:
	.ci/need redis-server
	cargo test --doc
	cargo test --lib --bins --tests --examples --no-fail-fast

# All targets, so that benches compile is checked here too.
lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

compare:
	.ci/need nginx haproxy wrk python3 taskset:util-linux
	.ci/need /usr/lib/nginx/modules/ngx_http_lua_module.so:libnginx-mod-http-lua
	python3 -c "import ensurepip" 2>/dev/null || .ci/need python3-venv
	cargo build --release
	python3 benches/compare/compare.py
