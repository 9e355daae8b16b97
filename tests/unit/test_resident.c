/* Pages of files are let go and come back as they were; what was changed is kept. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <curl/curl.h>

#include "io/resident.h"

#define SIZE ((size_t)64 * 1024)

/* KiB of the mapping at p that are resident; -1 when the system does not tell. */
static long resident(const void *p)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	unsigned long from, to;
	bool here = false;
	long kib = -1;

	while (f && kib < 0 && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (here)
			(void)sscanf(line, "Rss: %ld", &kib);
	}
	if (f)
		fclose(f);
	return kib;
}

/* A file of SIZE bytes, mapped as libraries are. */
static char *map_file(int protection)
{
	char path[] = "/tmp/resident-XXXXXX", *text = malloc(SIZE), *p;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_non_null(text);
	unlink(path);
	memset(text, 'x', SIZE);
	assert_int_equal(write(fd, text, SIZE), (ssize_t)SIZE);
	p = mmap(NULL, SIZE, protection, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_memory_equal(p, text, SIZE);
	close(fd);
	free(text);
	return p;
}

static void what_was_only_read_is_let_go_and_comes_back(void **state)
{
	char *p = map_file(PROT_READ);

	(void)state;
	if (resident(p) < 0)
		skip();
	assert_int_equal(resident(p), SIZE / 1024);
	resident_trim(0);
	assert_int_equal(resident(p), 0);
	assert_int_equal(p[0], 'x');
	assert_int_equal(p[SIZE - 1], 'x');
	assert_true(resident(p) > 0);
	munmap(p, SIZE);
}

static void what_was_changed_is_kept(void **state)
{
	char *p = map_file(PROT_READ | PROT_WRITE);

	(void)state;
	p[SIZE / 2] = 'y';
	assert_int_equal(mprotect(p, SIZE, PROT_READ), 0);
	resident_trim(0);
	assert_int_equal(p[SIZE / 2], 'y');
	munmap(p, SIZE);
}

static void what_every_call_runs_is_kept(void **state)
{
	uintptr_t curl = (uintptr_t)curl_multi_socket_action;
	long before;
	CURLM *m = curl_multi_init();

	(void)state;
	before = resident((const void *)curl);
	if (before < 0)
		skip();
	resident_trim(curl);
	assert_int_equal(resident((const void *)curl), before);
	assert_true(resident((const void *)(uintptr_t)strlen) != 0);
	resident_trim(0);
	assert_int_equal(resident((const void *)curl), 0);
	assert_int_equal(curl_multi_cleanup(m), CURLM_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_only_read_is_let_go_and_comes_back),
		cmocka_unit_test(what_was_changed_is_kept),
		cmocka_unit_test(what_every_call_runs_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
