/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

/* 64-bit nanoseconds reach from 1677-09-21 to 2262-04-11. */
#define YEAR_MIN 1678
#define YEAR_MAX 2261

static int64_t now_ns(clockid_t id)
{
	struct timespec ts = { 0 };

	/* Cannot fail: the three clocks used here exist in every kernel that has BPF ring buffers. */
	(void)clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NSEC_PER_SEC + ts.tv_nsec;
}

uint64_t clock_boottime_ns(void)
{
	return (uint64_t)now_ns(CLOCK_BOOTTIME);
}

uint64_t clock_monotonic_ns(void)
{
	return (uint64_t)now_ns(CLOCK_MONOTONIC);
}

int64_t clock_wall_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

bool clock_synchronised(void)
{
	struct timex t = { 0 };
	int state = adjtimex(&t);

	return state >= 0 && state != TIME_ERROR && !(t.status & STA_UNSYNC);
}

const char *clock_format(int64_t wall_ns, char buf[static CLOCK_TEXT_MAX])
{
	int64_t rest = wall_ns % (int64_t)NSEC_PER_SEC;
	time_t seconds = (time_t)(wall_ns / (int64_t)NSEC_PER_SEC);
	struct tm tm;
	size_t n;

	if (rest < 0) {
		rest += (int64_t)NSEC_PER_SEC;
		seconds--;
	}
	(void)gmtime_r(&seconds, &tm);
	n = strftime(buf, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + n, CLOCK_TEXT_MAX - n, ".%09dZ", (int)rest);
	return buf;
}

/* Exactly n digits; -1 otherwise. */
static int digits(const char **at, int n)
{
	int v = 0;

	for (; n > 0; n--, (*at)++) {
		if (**at < '0' || **at > '9')
			return -1;
		v = v * 10 + (**at - '0');
	}
	return v;
}

static bool literal(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

/* 15m, 2h, 7d, 30s. */
static int parse_age(const char *text, int64_t now, int64_t *ret)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	int64_t v = 0, age;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *text - '0', &v))
			return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (text[0] != units[i].unit || text[1])
			continue;
		if (__builtin_mul_overflow(v, units[i].seconds, &age) ||
		    __builtin_mul_overflow(age, (int64_t)NSEC_PER_SEC, &age) ||
		    __builtin_sub_overflow(now, age, ret))
			return -EINVAL;
		return 0;
	}
	return -EINVAL;
}

static int parse_date(const char **at, struct tm *tm)
{
	static const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year = digits(at, 4), month, day, last;

	if (year < YEAR_MIN || year > YEAR_MAX || !literal(at, '-'))
		return -EINVAL;
	month = digits(at, 2);
	if (month < 1 || month > 12 || !literal(at, '-'))
		return -EINVAL;
	day = digits(at, 2);
	last = month_days[month - 1];
	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		last = 29;
	if (day < 1 || day > last)
		return -EINVAL;
	*tm = (struct tm){ .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day };
	return 0;
}

static int parse_time_of_day(const char **at, struct tm *tm)
{
	int hour = digits(at, 2), minute, second;

	if (hour < 0 || hour > 23 || !literal(at, ':'))
		return -EINVAL;
	minute = digits(at, 2);
	if (minute < 0 || minute > 59 || !literal(at, ':'))
		return -EINVAL;
	second = digits(at, 2);
	/* RFC 3339 allows a leap second; Unix time counts it as the next one. */
	if (second < 0 || second > 60)
		return -EINVAL;
	tm->tm_hour = hour;
	tm->tm_min = minute;
	tm->tm_sec = second;
	return 0;
}

/* ".5", ".123456789", or nothing; digits past the ninth are cut. */
static int parse_fraction(const char **at, int64_t *ret_ns)
{
	int64_t ns = 0, unit = (int64_t)NSEC_PER_SEC / 10;

	*ret_ns = 0;
	if (!literal(at, '.'))
		return 0;
	if (**at < '0' || **at > '9')
		return -EINVAL;
	for (; **at >= '0' && **at <= '9'; (*at)++, unit /= 10)
		ns += (**at - '0') * unit;
	*ret_ns = ns;
	return 0;
}

/* "Z" or "+02:00": how far local time is ahead of UTC. */
static int parse_zone(const char **at, int64_t *ret_seconds)
{
	int sign = **at == '-' ? -1 : 1, hours, minutes;

	*ret_seconds = 0;
	if (literal(at, 'Z') || literal(at, 'z'))
		return 0;
	if (!literal(at, '+') && !literal(at, '-'))
		return -EINVAL;
	hours = digits(at, 2);
	if (hours < 0 || hours > 23 || !literal(at, ':'))
		return -EINVAL;
	minutes = digits(at, 2);
	if (minutes < 0 || minutes > 59)
		return -EINVAL;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return 0;
}

static int parse_rfc3339(const char *text, int64_t *ret)
{
	int64_t ns, zone;
	struct tm tm;

	if (parse_date(&text, &tm) < 0)
		return -EINVAL;
	if (!literal(&text, 'T') && !literal(&text, 't') && !literal(&text, ' '))
		return -EINVAL;
	if (parse_time_of_day(&text, &tm) < 0 || parse_fraction(&text, &ns) < 0 ||
	    parse_zone(&text, &zone) < 0 || *text)
		return -EINVAL;
	*ret = ((int64_t)timegm(&tm) - zone) * (int64_t)NSEC_PER_SEC + ns;
	return 0;
}

int clock_parse(const char *text, int64_t now, int64_t *ret_wall_ns)
{
	int64_t v;

	if (parse_age(text, now, &v) < 0 && parse_rfc3339(text, &v) < 0)
		return -EINVAL;
	*ret_wall_ns = v;
	return 0;
}
