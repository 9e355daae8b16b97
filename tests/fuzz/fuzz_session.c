/* Any bytes as a life of the session: each byte is a throw of the dice that
 * choose what client, server and clock do next. What must hold then is checked
 * by the events' own keeper. */
#include <stddef.h>
#include <stdint.h>

#include "../unit/core_random.h"

#define STEPS_MAX 3000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	if (!size)
		return 0;
	memset(&w, 0, sizeof(w));
	w.d.p = data;
	w.d.n = size;
	world_begin(&w, 1);
	while (w.d.n && !w.p.ended && w.steps < STEPS_MAX)
		world_step(&w);
	world_end(&w);
	return 0;
}
