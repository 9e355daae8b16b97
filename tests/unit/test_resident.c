/* Pages of libraries are let go and come back as they were; what was changed is kept. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <curl/curl.h>

#include "io/resident.h"

/* KiB of the mapping at p that are resident; -1 when the system does not tell. */
static long resident(const volatile void *p)
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

static const volatile char *in_libcurl(void)
{
	return (const volatile char *)(uintptr_t)curl_multi_socket_action;
}

static void touch_libcurl(void)
{
	assert_int_equal(curl_multi_cleanup(curl_multi_init()), CURLM_OK);
}

static void a_library_is_let_go_and_comes_back(void **state)
{
	char first;

	(void)state;
	touch_libcurl();
	first = *in_libcurl();
	if (resident(in_libcurl()) < 0)
		skip(); /* the system does not tell what is mapped: nothing is let go there */
	resident_trim(0);
	assert_int_equal(resident(in_libcurl()), 0);
	touch_libcurl();
	assert_int_equal(*in_libcurl(), first);
	assert_true(resident(in_libcurl()) > 0);
}

static void what_every_call_runs_is_kept(void **state)
{
	long before;

	(void)state;
	touch_libcurl();
	before = resident(in_libcurl());
	resident_trim((uintptr_t)in_libcurl());
	assert_int_equal(resident(in_libcurl()), before);
	assert_int_not_equal(resident((const void *)(uintptr_t)what_every_call_runs_is_kept), 0);
}

/* The file's header is not used any more, and its last byte means nothing. */
static void a_page_that_was_changed_is_kept(void **state)
{
	Dl_info info;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *header;

	(void)state;
	assert_int_not_equal(dladdr((const void *)(uintptr_t)in_libcurl(), &info), 0);
	header = info.dli_fbase;
	assert_int_equal(mprotect(header, page, PROT_READ | PROT_WRITE), 0);
	header[EI_NIDENT - 1] = 'y';
	assert_int_equal(mprotect(header, page, PROT_READ), 0);
	resident_trim(0);
	assert_int_equal(header[EI_NIDENT - 1], 'y');
}

static void a_mapped_file_is_none_of_ours(void **state)
{
	char path[] = "/tmp/resident-XXXXXX", *p;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(write(fd, "text", 4), 4);
	p = mmap(NULL, 4, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_memory_equal(p, "text", 4);
	resident_trim(0);
	assert_int_not_equal(resident(p), 0);
	munmap(p, 4);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_library_is_let_go_and_comes_back),
		cmocka_unit_test(what_every_call_runs_is_kept),
		cmocka_unit_test(a_page_that_was_changed_is_kept),
		cmocka_unit_test(a_mapped_file_is_none_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
