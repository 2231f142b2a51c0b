// SPDX-License-Identifier: MIT
/* The `mica` command: picks the subcommand. */
#include "cli.h"
#include <stdbool.h>
#include <errno.h>
#include <string.h>

static const struct command *const commands[] = {
	&cmd_info, &cmd_compile, &cmd_calibrate, &cmd_sensitivity, &cmd_compare, &cmd_run, &cmd_eval, &cmd_bench, &cmd_dump,
	&cmd_diff, &cmd_memplan, &cmd_onnx_test,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: mica COMMAND [OPTION]...\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-11s  %s\n", commands[i]->name, commands[i]->summary);
	fprintf(to, "\n'mica COMMAND --help' explains one of them; exit codes are in mica(1).\n");
	return to == stdout ? 0 : MICA_ERR_USAGE;
}

static int help(int argc, char **argv)
{
	const struct command *cmd;

	if (argc < 3)
		return usage(stdout);
	cmd = find(argv[2]);
	return cmd ? cli_usage(cmd) : cli_fail(MICA_ERR_USAGE, "there is no command '%s'; 'mica help' lists them", argv[2]);
}

/* A result that did not reach its reader is no success: a full disk shows only when the buffer is written. */
static int finish(int ret)
{
	bool bad = ferror(stdout);

	if ((fflush(stdout) || bad) && !ret)
		return cli_fail(MICA_ERR_FILE, "standard output: cannot be written: %s", strerror(errno));
	return ret;
}

int main(int argc, char **argv)
{
	const struct command *cmd;

	temp_install();
	if (argc < 2)
		return usage(stderr);
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return finish(help(argc, argv));
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
		printf("mica %s\n", mica_version());
		return finish(0);
	}
	cmd = find(argv[1]);
	if (!cmd)
		return cli_fail(MICA_ERR_USAGE, "there is no command '%s'; 'mica help' lists them", argv[1]);
	cli_set_command(cmd->name);
	return finish(cmd->run(argc - 1, argv + 1));
}
