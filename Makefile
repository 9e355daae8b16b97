# GNU make. `make`, `make check`, `make install`; SAN=address,undefined for a
# sanitized build in a directory of its own.

VERSION := 1.0.0
prefix  ?= /usr/local
bindir  ?= $(prefix)/bin
mandir  ?= $(prefix)/share/man
bashcompdir ?= $(prefix)/share/bash-completion/completions
zshcompdir  ?= $(prefix)/share/zsh/site-functions
fishcompdir ?= $(prefix)/share/fish/vendor_completions.d

CC ?= cc
PKG_CONFIG ?= pkg-config
SAN ?=
OUT ?= build$(if $(SAN),/$(subst $(comma),-,$(SAN)))$(if $(filter clang,$(CC)),/clang)
comma := ,

LIBS := libcurl libsodium
# ES256 client assertions want libcrypto and trust anchors that are read once want
# libssl; Debian's libcurl brings both anyway.
CRYPTO := $(shell $(PKG_CONFIG) --exists libcrypto libssl && echo yes)
ifeq ($(CRYPTO),yes)
LIBS += libssl libcrypto
DEFS += -DHAVE_LIBCRYPTO -DHAVE_LIBSSL
endif

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Wwrite-strings -Wformat=2
HARD := -fstack-protector-strong -fPIE
ifeq ($(SAN)$(findstring _FORTIFY_SOURCE,$(CFLAGS)),)
HARD += -D_FORTIFY_SOURCE=2
endif
ifeq ($(shell uname -s),Linux)
HARD_LD := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
endif
CFLAGS ?= -O2 -g
WERROR ?=
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -DVERSION='"$(VERSION)"' $(DEFS) -Isrc $(WARN) $(WERROR) $(HARD) \
	$(CFLAGS) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all) \
	$(shell $(PKG_CONFIG) --cflags $(LIBS))
ALL_LDFLAGS := $(HARD_LD) $(LDFLAGS) $(if $(SAN),-fsanitize=$(SAN))
LDLIBS := $(shell $(PKG_CONFIG) --libs $(LIBS)) -lm

SRCS := $(sort $(wildcard src/*.c src/*/*.c))
OBJS := $(SRCS:src/%.c=$(OUT)/obj/%.o)
LIBOBJS := $(filter-out $(OUT)/obj/main.o,$(OBJS))
BIN := $(OUT)/mcp-holdfast
UNIT := $(patsubst tests/unit/%.c,$(OUT)/unit/%,$(wildcard tests/unit/test_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,$(OUT)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

all: $(BIN)

$(BIN): $(OBJS)
	$(CC) $(ALL_LDFLAGS) -o $@ $(OBJS) $(LDLIBS)

$(OUT)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/libholdfast.a: $(LIBOBJS)
	@rm -f $@
	$(AR) rcs $@ $(LIBOBJS)

$(OUT)/unit/%: tests/unit/%.c $(OUT)/libholdfast.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(OUT)/libholdfast.a -lcmocka $(LDLIBS)

# Their allocations fail where they say so.
$(filter $(OUT)/unit/test_session_memory%,$(UNIT)): LDLIBS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup

unit: $(UNIT)

# Every unit test, then every integration test that needs no package.
check: $(BIN) $(UNIT)
	@for t in $(UNIT); do echo "== $$t"; $$t || exit 1; done
	BRIDGE="$(abspath $(BIN))" node --test --test-concurrency=2 tests/integration/*.test.mjs

VALGRIND := $(UNIT:%=%.valgrind)
valgrind: $(VALGRIND)
$(VALGRIND): %.valgrind: %
	@EVENTS=50000 STRIDE=11 valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite $< >$@.log 2>&1 || \
	  { echo "== valgrind $<"; cat $@.log; exit 1; }

# Fuzz targets are libFuzzer programs; FUZZ_SECONDS each, from tests/fuzz/corpus.
FUZZ_SECONDS ?= 10
FUZZ_OUT := build/fuzz
fuzz:
	$(MAKE) CC=clang OUT=$(FUZZ_OUT) SAN=address,undefined,fuzzer-no-link fuzz-run
FUZZED := $(FUZZERS:%=%.run)
fuzz-run: $(FUZZED)
$(FUZZED): $(OUT)/fuzz/%.run: $(OUT)/fuzz/%
	@mkdir -p $(OUT)/corpus/$* tests/fuzz/corpus/$*; \
	  $< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=0 \
	    $(OUT)/corpus/$* tests/fuzz/corpus/$* >$(OUT)/$*.log 2>&1 || { tail -40 $(OUT)/$*.log; exit 1; }; echo "$*: $$(tail -1 $(OUT)/$*.log)"
$(OUT)/fuzz/%: tests/fuzz/%.c $(OUT)/libholdfast.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $< $(OUT)/libholdfast.a $(LDLIBS) $(LDFLAGS)

bench: $(BIN)
	@BRIDGE="$(abspath $(BIN))" scripts/bench

lint: check-layers
	scripts/lint

# The rooms: who may include whom, and which rooms stay pure.
check-layers:
	@scripts/check-layers

install: $(BIN)
	install -d "$(DESTDIR)$(bindir)" "$(DESTDIR)$(mandir)/man1"
	install -m 755 $(BIN) "$(DESTDIR)$(bindir)/mcp-holdfast"
	install -m 644 man/mcp-holdfast.1 "$(DESTDIR)$(mandir)/man1/mcp-holdfast.1"
	install -d "$(DESTDIR)$(bashcompdir)" "$(DESTDIR)$(zshcompdir)" "$(DESTDIR)$(fishcompdir)"
	$(BIN) --completion bash >"$(DESTDIR)$(bashcompdir)/mcp-holdfast"
	$(BIN) --completion zsh >"$(DESTDIR)$(zshcompdir)/_mcp-holdfast"
	$(BIN) --completion fish >"$(DESTDIR)$(fishcompdir)/mcp-holdfast.fish"
	chmod 644 "$(DESTDIR)$(bashcompdir)/mcp-holdfast" "$(DESTDIR)$(zshcompdir)/_mcp-holdfast" \
	  "$(DESTDIR)$(fishcompdir)/mcp-holdfast.fish"

uninstall:
	rm -f "$(DESTDIR)$(bindir)/mcp-holdfast" "$(DESTDIR)$(mandir)/man1/mcp-holdfast.1" \
	  "$(DESTDIR)$(bashcompdir)/mcp-holdfast" "$(DESTDIR)$(zshcompdir)/_mcp-holdfast" \
	  "$(DESTDIR)$(fishcompdir)/mcp-holdfast.fish"

clean:
	rm -rf build

.PHONY: all unit check valgrind $(VALGRIND) fuzz fuzz-run $(FUZZED) bench lint check-layers install uninstall clean
.SECONDARY:
-include $(OBJS:.o=.d) $(wildcard $(OUT)/unit/*.d)
