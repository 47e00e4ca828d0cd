/* status.h: every outcome the program can name, with the form it takes on the wire.
 *
 * Functions return STATUS_OK (0) or a negative `enum status`; results come back by pointer. The lower rooms return codes only;
 * the texts that AWS puts beside them need names (stream, shard, account) and are written where those are known: server/.
 *
 * Sources: HTTP status and type names from the public service model (errors are 400, faults 500); the types that the model lacks
 * (SerializationException, UnknownOperationException, the authentication family) from kinesalite's recorded answers. */
#ifndef PENSTOCK_STATUS_H
#define PENSTOCK_STATUS_H

/*        name                  value  HTTP  AWS type ("__type") */
#define STATUS_LIST(X)                                                          \
	X(OK,                      0, 200, "")                                  \
	X(NOT_FOUND,              -1, 400, "ResourceNotFoundException")         \
	X(IN_USE,                 -2, 400, "ResourceInUseException")            \
	X(INVALID_ARGUMENT,       -3, 400, "InvalidArgumentException")          \
	X(LIMIT_EXCEEDED,         -4, 400, "LimitExceededException")            \
	X(THROTTLED,              -5, 400, "ProvisionedThroughputExceededException") \
	X(EXPIRED_ITERATOR,       -6, 400, "ExpiredIteratorException")          \
	X(EXPIRED_TOKEN,          -7, 400, "ExpiredNextTokenException")         \
	X(VALIDATION,             -8, 400, "ValidationException")               \
	X(SERIALIZATION,          -9, 400, "SerializationException")            \
	X(UNKNOWN_OPERATION,     -10, 400, "UnknownOperationException")         \
	X(ACCESS_DENIED,         -11, 400, "AccessDeniedException")             \
	X(MISSING_AUTH,          -12, 400, "MissingAuthenticationTokenException") \
	X(INCOMPLETE_SIGNATURE,  -13, 400, "IncompleteSignatureException")      \
	X(INVALID_SIGNATURE,     -14, 400, "InvalidSignatureException")         \
	X(INTERNAL,              -15, 500, "InternalFailure")                   \
	X(UNAVAILABLE,           -16, 503, "ServiceUnavailable")                \
	X(UNRECOGNIZED_CLIENT,   -22, 400, "UnrecognizedClientException")       \
	X(DRY_RUN,               -23, 400, "DryRunOperationException")          \
	/* Store outcomes that never reach the wire under these names. */       \
	X(DISK_FULL,             -17, 500, "InternalFailure")                   \
	X(IO,                    -18, 500, "InternalFailure")                   \
	X(CORRUPT,               -19, 500, "InternalFailure")                   \
	X(NO_MEMORY,             -20, 500, "InternalFailure")                   \
	X(CLOSING,               -21, 503, "ServiceUnavailable")                \
	X(NO_FILES,              -24, 500, "InternalFailure") /* no descriptor was to be had, nothing was done */

enum status {
#define X(name, value, http, type) STATUS_##name = (value),
	STATUS_LIST(X)
#undef X
};

/* Each is total: a value outside the list reads as INTERNAL. Any thread. */
int status_http(enum status status);
const char *status_type(enum status status); /* the AWS type, e.g. "ResourceNotFoundException" */
const char *status_name(enum status status); /* our own name, e.g. "NOT_FOUND", for logs */

#endif
