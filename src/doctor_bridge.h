/* Where the doctor meets the options and the sign-in. */
#ifndef DOCTOR_BRIDGE_H
#define DOCTOR_BRIDGE_H

#include "base/redact.h"
#include "options.h"

/* `doctor`: an exit status, see report/doctor.h. The log is open already. */
int doctor_bridge_run(struct options *o, struct redactor *r);

#endif
