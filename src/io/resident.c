/* The dynamic linker and the initialisation of thirty libraries touch far more
 * pages than a running bridge does, and the kernel maps sixteen for each of them.
 * Who looks at the process list would see all that in each bridge for as long as
 * it lives. */
#include "io/resident.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <sodium.h>

#ifdef __linux__

#define KEPT 4

struct mapping {
	uintptr_t from, to;
	unsigned long long inode; /* 0: no file */
	bool may_go;
};

static uintptr_t base_of(uintptr_t address)
{
	Dl_info info;

	return dladdr((void *)address, &info) ? (uintptr_t)info.dli_fbase : 0;
}

/* From the first line that proc(5) has for it. */
static bool read_mapping(const char *line, struct mapping *m)
{
	unsigned long long from, to;
	char mode[5];

	if (sscanf(line, "%llx-%llx %4s %*s %*s %llu", &from, &to, mode, &m->inode) != 4)
		return false;
	m->from = (uintptr_t)from;
	m->to = (uintptr_t)to;
	m->may_go = m->inode && mode[0] == 'r' && mode[1] == '-' && mode[3] == 'p';
	return true;
}

void resident_trim(uintptr_t also)
{
	uintptr_t kept[KEPT] = { base_of((uintptr_t)resident_trim), base_of((uintptr_t)getline),
		base_of((uintptr_t)sodium_memzero), base_of(also) };
	FILE *f = fopen("/proc/self/smaps", "re");
	char *line = NULL;
	size_t size = 0;
	struct mapping m = { 0 };
	unsigned long long kept_inode = 0;

	while (f && getline(&line, &size, f) > 0) {
		if (read_mapping(line, &m)) {
			/* The mappings of a file begin at its base and lie one behind the other. */
			for (int i = 0; i < KEPT; i++)
				kept_inode = m.from == kept[i] ? m.inode : kept_inode;
			m.may_go = m.may_go && m.inode != kept_inode;
		} else if (m.may_go && strncmp(line, "Anonymous:", 10) == 0 && strtol(line + 10, NULL, 10) == 0) {
			(void)madvise((void *)m.from, m.to - m.from, MADV_DONTNEED);
		}
	}
	free(line);
	if (f)
		fclose(f);
}

#else

void resident_trim(uintptr_t also)
{
	(void)also;
}

#endif
