test:
	cargo test --no-default-features

.PHONY: test
