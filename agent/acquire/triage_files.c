/* SPDX-License-Identifier: Apache-2.0 */
/* Which files are taken, by rank of volatility: what temporary file systems hold, what says who may do what and
 * what runs when, logs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "agent/acquire/accounts.h"
#include "agent/acquire/proc_text.h"
#include "agent/acquire/triage_paths.h"

#define SHADOW_MAX MiB(4)

#define SMALL MiB(1)

static const struct triage_path temporary[] = {
	{ "/run/utmp", "who is logged in", MiB(4), MiB(4), 1, TRIAGE_RECORDS, { NULL } },
	{ "/dev/shm/**",
	  "shared memory: where files leave no trace on disk",
	  MiB(8),
	  MiB(64),
	  2000,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/tmp/**",
	  "where strangers put things first",
	  SMALL,
	  MiB(64),
	  2000,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/var/tmp/**",
	  "the same, kept over a restart",
	  SMALL,
	  MiB(64),
	  2000,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/run/**",
	  "units made at run time, sessions, lock files",
	  KiB(256),
	  MiB(16),
	  4000,
	  TRIAGE_LEAVE,
	  { "run/utmp", "run/log/*", "run/udev/*", "run/docker/*", "run/containerd/*", NULL } },
};

static const struct triage_path configuration[] = {
	{ "/*",
	  "the root directory: links of the system's, marks of container runtimes",
	  SMALL,
	  MiB(16),
	  256,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/var/log/wtmp*", "logins", MiB(16), MiB(32), 8, TRIAGE_RECORDS, { NULL } },
	{ "/var/log/btmp*", "failed logins", MiB(16), MiB(32), 8, TRIAGE_RECORDS, { NULL } },
	{ "/var/log/lastlog",
	  "last login of each user",
	  MiB(16),
	  MiB(16),
	  1,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "~/.*_history",
	  "what was typed in shells, databases, interpreters",
	  MiB(4),
	  MiB(32),
	  512,
	  TRIAGE_END,
	  { NULL } },
	{ "~/.local/share/fish/fish_history",
	  "the same, fish",
	  MiB(4),
	  MiB(16),
	  64,
	  TRIAGE_END,
	  { NULL } },
	{ "~/.viminfo",
	  "files and words that were edited",
	  SMALL,
	  MiB(16),
	  256,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "~/.lesshst", "what was searched for", SMALL, MiB(16), 256, TRIAGE_LEAVE, { NULL } },
	{ "~/.wget-hsts",
	  "hosts from which files came",
	  SMALL,
	  MiB(16),
	  256,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "~/.ssh/**",
	  "keys that let in, hosts that were known; no private key",
	  SMALL,
	  MiB(16),
	  2048,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "~/.*rc",
	  "what a shell runs at its start",
	  SMALL,
	  MiB(16),
	  1024,
	  TRIAGE_LEAVE,
	  { "*/.netrc", NULL } },
	{ "~/.*profile", "the same, at login", SMALL, MiB(16), 512, TRIAGE_LEAVE, { NULL } },
	{ "~/.bash_log*", "the same, bash", SMALL, MiB(16), 512, TRIAGE_LEAVE, { NULL } },
	{ "~/.config/systemd/**",
	  "units of a user's own",
	  SMALL,
	  MiB(16),
	  2048,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "~/.config/autostart/**",
	  "what a desktop starts",
	  SMALL,
	  MiB(16),
	  512,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/etc/**",
	  "configuration: accounts, services, scheduled work, preloading, PAM, sudo",
	  SMALL,
	  MiB(128),
	  12000,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/usr/lib/os-release", "which distribution", SMALL, SMALL, 1, TRIAGE_LEAVE, { NULL } },
	{ "/usr/lib/systemd/system/**",
	  "units of packages, among which others hide",
	  SMALL,
	  MiB(32),
	  6000,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/usr/lib/systemd/user/**",
	  "the same, of users",
	  SMALL,
	  MiB(16),
	  2000,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/usr/lib/systemd/system-generators/*",
	  "run before units",
	  SMALL,
	  MiB(16),
	  256,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/usr/local/lib/systemd/**",
	  "units of this host's own",
	  SMALL,
	  MiB(16),
	  2000,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/var/spool/cron/**", "scheduled work", SMALL, MiB(16), 2000, TRIAGE_LEAVE, { NULL } },
	{ "/var/spool/at/**", "work for later", SMALL, MiB(16), 2000, TRIAGE_LEAVE, { NULL } },
	{ "/var/spool/anacron/*",
	  "when scheduled work last ran",
	  SMALL,
	  SMALL,
	  64,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/var/lib/systemd/timers/*",
	  "when timers last ran",
	  SMALL,
	  SMALL,
	  512,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/var/lib/dpkg/status", "installed packages", MiB(32), MiB(32), 1, TRIAGE_LEAVE, { NULL } },
	{ "/var/lib/rpm/*", "installed packages", MiB(128), MiB(128), 32, TRIAGE_LEAVE, { NULL } },
	{ "/usr/lib/sysimage/rpm/*",
	  "installed packages",
	  MiB(128),
	  MiB(128),
	  32,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/lib/apk/db/installed",
	  "installed packages",
	  MiB(32),
	  MiB(32),
	  1,
	  TRIAGE_LEAVE,
	  { NULL } },
};

/* The newest first: an order's limit then takes the oldest away. */
static const struct triage_path logs[] = {
	{ "/var/log/**",
	  "logs",
	  MiB(16),
	  MiB(256),
	  4000,
	  TRIAGE_END,
	  { "var/log/journal/*", "var/log/wtmp*", "var/log/btmp*", "var/log/lastlog", NULL } },
	{ "/run/log/journal/**",
	  "systemd's journal in memory",
	  MiB(64),
	  MiB(128),
	  64,
	  TRIAGE_LEAVE,
	  { NULL } },
	{ "/var/log/journal/**",
	  "systemd's journal",
	  MiB(128),
	  MiB(512),
	  256,
	  TRIAGE_LEAVE,
	  { NULL } },
};

int triage_temporary(struct triage *t, struct error *e)
{
	return triage_put_paths(t, temporary, ARRAY_LEN(temporary), e);
}

/* ---- passwords' rules, without passwords ---------------------------------------------------------------- */

static void put_field(struct json *j, const char *key, const struct account_field *f)
{
	if (f->len > 0)
		json_bytes(j, key, f->at, f->len);
}

static void put_policy(struct triage_lines *l, const struct account_policy *p)
{
	if (!triage_row(l))
		return;
	put_field(&l->json, "user", &p->user);
	json_text(&l->json, "password", p->password);
	put_field(&l->json, "scheme", &p->scheme);
	json_bool(&l->json, "hash_behind_lock", p->locked_hash);
	put_field(&l->json, "last_change_days", &p->last_change);
	put_field(&l->json, "minimum_days", &p->minimum);
	put_field(&l->json, "maximum_days", &p->maximum);
	put_field(&l->json, "warning_days", &p->warning);
	put_field(&l->json, "inactive_days", &p->inactive);
	put_field(&l->json, "expires_days", &p->expires);
	triage_row_end(l);
}

static int put_policies(struct triage *t, struct error *e)
{
	AUTO(triage_lines_release) struct triage_lines l = { 0 };
	AUTO(free_ptr) uint8_t *text = malloc(SHADOW_MAX);
	AUTO(close_fd) int etc = triage_dir(t, "etc");
	struct stat st;
	AUTO(close_fd) int fd = etc < 0 ? -1 : triage_open(t, etc, "shadow", &st);
	ssize_t n = fd < 0 || text == NULL ? -1 : pread(fd, text, SHADOW_MAX, 0);
	struct reader all = reader_init(text, n < 0 ? 0 : (size_t)n);

	if (n < 0)
		return 0;
	int r = triage_lines_open(&l, e);

	while (r == 0 && all.left > 0) {
		struct account_policy p;

		if (account_policy(proc_line(&all), &p))
			put_policy(&l, &p);
	}
	explicit_bzero(text, SHADOW_MAX);
	return r == 0 ? triage_put_lines(t, &l, "live_response/system/shadow_policy.jsonl", e) : r;
}

int triage_files(struct triage *t, struct error *e)
{
	int r = put_policies(t, e);

	return r == 0 ? triage_put_paths(t, configuration, ARRAY_LEN(configuration), e) : r;
}

int triage_logs(struct triage *t, struct error *e)
{
	return triage_put_paths(t, logs, ARRAY_LEN(logs), e);
}
