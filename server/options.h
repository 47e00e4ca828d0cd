/* options.h: the server's command line. Bad input gets one line that names the option, and exit status 2. */
#ifndef PENSTOCK_OPTIONS_H
#define PENSTOCK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "penstock/limits.h"
#include "penstock/slog.h"
#include "server/fault_rules.h"

#define OPTION_LIST_MAX 32
#define LISTEN_MOST 8

/* The values of an option that may be repeated, in their order. */
struct option_list {
	const char *items[OPTION_LIST_MAX];
	unsigned n;
};

struct options {
	const char *data_dir;           /* --data-dir DIR; penstock-data */
	struct option_list listen;      /* each --listen ADDR:PORT, 1 to LISTEN_MOST; 127.0.0.1:4567. Port 0: any; the bound one is printed */
	const char *region;             /* --region; us-east-1 */
	const char *account;            /* --account; 000000000000 */
	const char *tls_cert, *tls_key; /* --tls-cert, --tls-key: PEM; without them a certificate and CA are made in the data directory */
	const char *credentials;     /* --credentials FILE: signatures are verified with its keys; NULL: any well-formed one is accepted */
	const char *metrics_token_file; /* --metrics-token-file FILE: /metrics wants the bearer token in it; NULL: it is open */
	const char *insecure_listen; /* --insecure-listen yes-without-signatures: any address, though nothing is verified; NULL: loopback */
	struct option_list allow_origin; /* each --allow-origin ORIGIN, or * */
	struct option_list allow_host;   /* each --allow-host NAME, or * */
	unsigned workers, lanes;     /* --workers N (1 to 16; default: cores, at most 4), --lanes N (1 to 8; 1) */
	unsigned syncers, readers;   /* --syncers N, --readers N (1 to 8; 2) */
	struct limits limits;        /* --limits aws|off, and on top of it each --limit NAME=VALUE */
	uint64_t free_floor_mib;     /* --free-floor MIB (1 to 2^30): with less free on the disk no put is taken; 0: what the store takes by
					itself */
	const char *config;          /* --config FILE: a JSON object of options by these names; NULL: none */
	uint64_t transition_ms;      /* --transition-ms N; how long CREATING and DELETING last; 20 */
	uint64_t subscription_s;     /* --subscription-seconds N; 300 */
	uint64_t clock_grace_s;      /* --clock-grace SECONDS (0 to a year); 86400 */
	bool believe_clock;          /* --believe-clock */
	uint64_t heartbeat_ms;       /* --heartbeat-ms N; 5000 */
	const char *profile;         /* --profile aws|none; none */
	struct fault_rules faults;   /* each --fault NAME[.OPERATION]=SHARE[:TIME]; --fault-seed N, also the profile's; 1 */
	uint64_t retention_ms;       /* --test-retention-ms N: between rounds of retention; tests; 10000 */
	uint64_t fsync_delay_us;     /* --test-sync-delay-us N: adds to each fdatasync; tests and benchmarks */
	unsigned max_connections;    /* --max-connections N; 0: 20000, or what the limit on open files leaves (files.h) */
	unsigned connections_per_address; /* --max-connections-per-address N; 0: 2000, and loopback is not bounded */
	uint64_t idle_s;           /* --idle-seconds N: connections without a request or subscription; 300 */
	enum slog_level log_level; /* --log-level error|warn|info|debug; info */
	enum slog_format log_format; /* --log-format text|json; text */
	bool print_ready;          /* --print-ready: a line "listening ADDR:PORT" on stdout for each address, once it serves */
};

/* Fills *out from defaults, the command line, and the file that --config names; the command line wins. Strings are argv's own, or live until
 * the process ends. 0: go on. 1: --help or --version was printed, exit 0. 2: a bad option was named. */
int options_parse(int argc, char **argv, struct options *out);

/* "ADDR:PORT" as a socket address: IPv4, [IPv6], or localhost, which is 127.0.0.1. False: not of that form. */
bool options_address(const char *listen, struct sockaddr_storage *out, socklen_t *len);

#endif
