# What a developer types. `.ci/run` calls `lint` and `test`; docs/performance.md explains `compare`.
.PHONY: test lint compare

# End-to-end tests mostly wait, so several run on each core.
test:
	.ci/need redis-server
	cargo test --doc
	cargo test --lib --bins --examples --test tidy --no-fail-fast
	cargo test --test e2e -- --test-threads=$$((4 * $$(nproc)))

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
