/* SPDX-License-Identifier: MIT */
/* Counters for the driver, and a small model of power and temperature: both follow the share of busy cores. */
#include "fw.h"

#define IDLE_MW		1500u
#define CORE_MW		4000u		/* more, for a core that is busy all the time */
#define AMBIENT_MC	35000u
#define MC_PER_MW	3u		/* thermal resistance: 3 K per W */
#define TAU_US		8000000u	/* thermal time constant */

void telemetry_busy(u32 core)
{
	fw.telemetry.busy_us[core] += fw.now - fw.core[core].busy_since;
	fw.core[core].busy_since = fw.now;
}

/* Busy time of all cores since the last call, running jobs included. */
static u64 busy_since_last(void)
{
	u64 sum = 0, difference;

	for (u32 core = 0; core < fw.cores; core++) {
		if (fw.core[core].ctx)
			telemetry_busy(core);
		sum += fw.telemetry.busy_us[core];
	}
	difference = sum - fw.busy_total;
	fw.busy_total = sum;
	return difference;
}

static void power_model(u32 elapsed_us)
{
	struct mica_fw_telemetry *t = &fw.telemetry;
	u64 busy = busy_since_last();
	u32 target, step = elapsed_us < TAU_US ? elapsed_us : TAU_US;

	t->power_mw = IDLE_MW + (u32)(CORE_MW * busy / (elapsed_us ? elapsed_us : 1));
	target = AMBIENT_MC + MC_PER_MW * t->power_mw;
	if (!t->temp_mc)
		t->temp_mc = AMBIENT_MC + MC_PER_MW * IDLE_MW;
	t->temp_mc += (s32)((long long)((s32)target - (s32)t->temp_mc) * (s32)step / (s32)TAU_US);
	hw_write(MICA_LREG_TEMP_MC, t->temp_mc);
	hw_write(MICA_LREG_POWER_MW, t->power_mw);
}

void telemetry_update(void)
{
	u32 elapsed = fw.now - fw.telemetry_since;

	if (elapsed || !fw.telemetry.temp_mc)
		power_model(elapsed);
	fw.telemetry_since = fw.now;
	fw.telemetry.uptime_us = hw_time();
	fw.telemetry.heartbeat++;
	shm_write(offsetof(struct mica_fw_shm, telemetry), &fw.telemetry, sizeof(fw.telemetry));
}
