/* The dynamic linker and the initialisation of thirty libraries touch far more
 * pages than a running bridge does, and the kernel maps sixteen for each of them.
 * Who looks at the process list would see all that in each bridge for as long as
 * it lives. */
#include "io/resident.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __linux__
#include <link.h>

#include <sodium.h>

#define KEPT 4
#define OBJECTS 64 /* more libraries than that stay */

struct range {
	uintptr_t from, to;
};

struct objects {
	uintptr_t kept[KEPT];
	struct range may_go[OBJECTS];
	size_t n;
};

static bool lies_in(uintptr_t address, struct range r)
{
	return address >= r.from && address < r.to;
}

/* Notes a library that none of the kept addresses lies in. */
static int on_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct objects *o = arg;
	struct range r = { UINTPTR_MAX, 0 };

	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uintptr_t at = (uintptr_t)info->dlpi_addr + (uintptr_t)h->p_vaddr;

		if (h->p_type != PT_LOAD)
			continue;
		r.from = at < r.from ? at : r.from;
		r.to = at + h->p_memsz > r.to ? at + h->p_memsz : r.to;
	}
	for (size_t i = 0; i < KEPT; i++)
		if (lies_in(o->kept[i], r))
			return 0;
	if (o->n < OBJECTS)
		o->may_go[o->n++] = r;
	return 0;
}

/* True for the first line that proc(5) has of a mapping. */
static bool read_mapping(const char *line, struct range *r, bool *read_only)
{
	unsigned long long from, to;
	char mode[5];

	if (sscanf(line, "%llx-%llx %4s", &from, &to, mode) != 3)
		return false;
	*r = (struct range){ (uintptr_t)from, (uintptr_t)to };
	*read_only = mode[0] == 'r' && mode[1] == '-' && mode[3] == 'p';
	return true;
}

static bool may_go(const struct objects *o, struct range r)
{
	for (size_t i = 0; i < o->n; i++)
		if (lies_in(r.from, o->may_go[i]))
			return true;
	return false;
}

void resident_trim(uintptr_t also)
{
	struct objects o = { .kept = { (uintptr_t)resident_trim, (uintptr_t)getline, (uintptr_t)sodium_memzero, also } };
	FILE *f = fopen("/proc/self/smaps", "re");
	struct range r = { 0, 0 };
	char *line = NULL;
	size_t size = 0;
	bool goes = false;

	dl_iterate_phdr(on_object, &o);
	while (f && getline(&line, &size, f) > 0) {
		if (read_mapping(line, &r, &goes))
			goes = goes && may_go(&o, r);
		else if (goes && strncmp(line, "Anonymous:", 10) == 0 && strtol(line + 10, NULL, 10) == 0)
			(void)madvise((void *)r.from, r.to - r.from, MADV_DONTNEED);
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
