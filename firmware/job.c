/* SPDX-License-Identifier: MIT */
/*
 * A job on its cores: fetch, gang start, what the cores report, faults, preemption, watchdog. The cores of a gang stay
 * its own until the last one has stopped, because its peers may still write to their LMEM.
 */
#include "fw.h"

/* ---- fetch ---- */

static u32 check_desc(const struct mica_job_desc *d)
{
	if (d->magic != MICA_JOB_MAGIC)
		return FW_DESC_MAGIC;
	if (!d->cores || d->cores > fw.cores)
		return FW_DESC_CORES;
	if (d->flags)
		return FW_DESC_FLAGS;
	if (d->segments > MICA_JOB_SEGMENTS)
		return FW_DESC_SEGMENTS;
	return 0;
}

/* Field by field: on the way from doorbell to start this is cheaper than clearing the whole struct. */
static void reset_job(struct fw_job *j, u64 desc)
{
	j->desc = desc;
	j->seqno = 0;
	j->cycles = 0;
	j->started = false;
	j->fault = (struct fw_fault){ 0 };
	for (u32 i = 0; i < fw.cores; i++)
		j->resume[i] = 0;
}

/* Copies the first 64 bytes of the descriptor at the ring's head. The rest is the command processors' business. */
void job_fetch(struct fw_context *c)
{
	static struct mica_job_desc d;
	struct fw_job *j = &c->job;
	u64 addr = c->ring + (u64)(c->head & (c->entries - 1)) * sizeof(d);

	reset_job(j, addr);
	if (!hw_dma(addr, &d, FW_JOB_DESC_HEAD, MICA_DMA_CTRL_TO_LOCAL)) {
		j->fault = (struct fw_fault){ .code = MICA_FAULT_BUS, .addr = addr };
		j->state = FW_JOB_DONE;
		return;
	}
	j->seqno = d.seqno;
	j->fault.info = check_desc(&d);
	if (j->fault.info) {
		j->fault.code = MICA_FAULT_DESC;
		j->fault.addr = addr;
		j->state = FW_JOB_DONE;
		return;
	}
	j->cores = (u8)d.cores;
	sched_ready(c);
}

/* ---- start ---- */

static void load_core(struct fw_context *c, u32 core, u32 index)
{
	const struct fw_job *j = &c->job;

	core_write(core, MICA_CREG_DESC_LO, (u32)j->desc);
	core_write(core, MICA_CREG_DESC_HI, (u32)(j->desc >> 32));
	core_write(core, MICA_CREG_CTX, ctx_slot(c));
	core_write(core, MICA_CREG_GANG, index | (u32)j->gang << 16);
	core_write(core, MICA_CREG_RESUME, j->resume[index]);
	fw.core[core].ctx = (u8)ctx_slot(c);
	fw.core[core].busy_since = fw.now;
}

static void command_cores(u32 set, u32 command)
{
	for (; set; set &= set - 1)
		core_write(first_core(set), MICA_CREG_CTRL, command);
}

/* All cores are loaded before the first one starts. */
void job_start(struct fw_context *c, u32 gang)
{
	struct fw_job *j = &c->job;
	u32 index = 0;

	j->gang = (u8)gang;
	j->done = j->preempted = j->faulted = j->preempting = 0;
	j->state = FW_JOB_RUNNING;
	for (u32 set = gang; set; set &= set - 1)
		load_core(c, first_core(set), index++);
	command_cores(gang, MICA_CORE_CTRL_START);
	fw.free_cores &= ~gang;
	j->run_since = j->progress_since = fw.now;
	j->progress = 0;
	if (!j->started) {
		j->started = true;
		j->first_start = fw.now;
	}
	fw_log(FW_LOG_DEBUG, "context %u job %llx: starts on cores %x", ctx_slot(c), j->seqno, gang);
}

/* ---- stop ---- */

static u32 running_cores(const struct fw_job *j)
{
	return j->gang & ~(u32)(j->done | j->preempted | j->faulted);
}

void job_preempt(struct fw_context *c)
{
	c->job.preempting = 1;
	command_cores(running_cores(&c->job), MICA_CORE_CTRL_PREEMPT);
	fw_log(FW_LOG_DEBUG, "context %u job %llx: to be preempted", ctx_slot(c), c->job.seqno);
}

/* The first reason wins: what the cores report afterwards is its consequence. */
void job_kill(struct fw_context *c, u32 code, u32 blamed_core)
{
	struct fw_job *j = &c->job;

	if (!j->fault.code) {
		j->fault.code = code;
		j->fault.core = blamed_core;
	}
	j->state = FW_JOB_STOPPING;
	j->kill_since = fw.now;
	command_cores(running_cores(j), MICA_CORE_CTRL_KILL);
}

/* ---- what the cores report ---- */

static void account_cores(const struct fw_job *j)
{
	for (u32 set = j->gang; set; set &= set - 1) {
		u32 core = first_core(set);

		telemetry_busy(core);
		fw.core[core].ctx = 0;
	}
	fw.free_cores |= j->gang;
}

/* Every core of the gang has stopped: the job is done, has failed, or waits for its next turn. */
static void finish(struct fw_context *c)
{
	struct fw_job *j = &c->job;
	u64 longest = 0;

	for (u32 set = j->gang; set; set &= set - 1) {
		u32 core = first_core(set);
		u64 cycles = core_read(core, MICA_CREG_CYCLES_LO) | (u64)core_read(core, MICA_CREG_CYCLES_HI) << 32;

		longest = cycles > longest ? cycles : longest;
		core_write(core, MICA_CREG_CTRL, MICA_CORE_CTRL_ACK);
	}
	j->cycles += longest;
	account_cores(j);
	ctx_attend(ctx_slot(c));
	if (j->preempted && j->preempted == j->gang && !j->fault.code) {
		sched_ready(c);
		return;
	}
	if (j->done == j->gang)		/* it was over before the kill reached it */
		j->fault = (struct fw_fault){ 0 };
	else if (!j->fault.code)	/* some cores at a checkpoint, the others at the end */
		j->fault = (struct fw_fault){ .code = MICA_FAULT_BARRIER, .core = first_core(j->gang) };
	j->state = FW_JOB_DONE;
	fw.settle = true;
}

static void read_fault(struct fw_fault *f, u32 core)
{
	f->core = core;
	f->info = core_read(core, MICA_CREG_FAULT_INFO);
	f->packet = core_read(core, MICA_CREG_FAULT_PKT);
	f->layer = core_read(core, MICA_CREG_FAULT_LAYER);
	f->addr = core_read(core, MICA_CREG_FAULT_ADDR_LO) | (u64)core_read(core, MICA_CREG_FAULT_ADDR_HI) << 32;
}

/* Faults that another core's fault brings about. */
static bool is_consequence(u32 code)
{
	return code == MICA_FAULT_BARRIER || code == MICA_FAULT_ABORTED;
}

/*
 * The first fault is the job's, a cause before its consequence when both are seen at once. When it was killed
 * (watchdog, abort) the reason stands already, and the core to blame adds where it was.
 */
static void core_faulted(struct fw_context *c, u32 core)
{
	struct fw_job *j = &c->job;
	u32 code = core_read(core, MICA_CREG_FAULT);

	j->faulted |= (u8)(1u << core);
	if (!j->fault.code ||
	    (j->state == FW_JOB_RUNNING && is_consequence(j->fault.code) && !is_consequence(code))) {
		j->fault.code = code ? code : MICA_FAULT_ABORTED;
		read_fault(&j->fault, core);
	} else if (j->state == FW_JOB_STOPPING && j->fault.core == core) {
		read_fault(&j->fault, core);
	}
}

/* Which stream offset to go on from, by index within the gang: the physical cores may be others then. */
static void core_preempted(struct fw_job *j, u32 core)
{
	j->resume[count_bits(j->gang & ((1u << core) - 1))] = core_read(core, MICA_CREG_RESUME);
	j->preempted |= (u8)(1u << core);
}

static void scan_core(struct fw_context *c, u32 core)
{
	struct fw_job *j = &c->job;
	u32 status = core_read(core, MICA_CREG_STATUS);

	switch (status) {
	case MICA_CORE_RUNNING:
		return;
	case MICA_CORE_DONE:
		j->done |= (u8)(1u << core);
		break;
	case MICA_CORE_FAULT:
		core_faulted(c, core);
		break;
	case MICA_CORE_PREEMPTED:
		core_preempted(j, core);
		break;
	default:
		FW_INVARIANT(!"a core of a running job is idle");
	}
}

static void scan_job(struct fw_context *c)
{
	struct fw_job *j = &c->job;

	for (u32 set = running_cores(j); set; set &= set - 1)
		scan_core(c, first_core(set));
	if (!running_cores(j))
		finish(c);
	else if (j->faulted && j->state == FW_JOB_RUNNING)
		job_kill(c, j->fault.code, j->fault.core);
}

/* Calls fn once for each job that has cores. */
static void for_each_running(void (*fn)(struct fw_context *c))
{
	u32 left = ((1u << fw.cores) - 1) & ~fw.free_cores;

	while (left) {
		u32 core = first_core(left);
		struct fw_context *c = &fw.ctx[fw.core[core].ctx];

		FW_INVARIANT(c->job.gang & 1u << core);
		left &= ~(u32)c->job.gang;
		fn(c);
	}
}

void job_scan(void)
{
	for_each_running(scan_job);
}

/* ---- watchdog ---- */

/* A gang is stuck when none of its cores completes a packet: one that waits for its peers is not to blame. */
static void watch_job(struct fw_context *c)
{
	struct fw_job *j = &c->job;
	u32 progress = 0, running = running_cores(j);

	if (j->state == FW_JOB_STOPPING) {
		if (fw.now - j->kill_since > FW_KILL_US)
			fw_panic(MICA_FW_PANIC_CORE, 0, running ? first_core(running) : 0);
		return;
	}
	for (u32 set = running; set; set &= set - 1)
		progress += core_read(first_core(set), MICA_CREG_PROGRESS);
	if (progress != j->progress) {
		j->progress = progress;
		j->progress_since = fw.now;
	} else if (fw.watchdog_us && running && fw.now - j->progress_since > fw.watchdog_us) {
		job_kill(c, MICA_FAULT_WATCHDOG, first_core(running));
	}
}

void job_watch(void)
{
	for_each_running(watch_job);
}
