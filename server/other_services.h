/* other_services.h: requests that are meant for another AWS service than Kinesis.
 *
 * AWS_ENDPOINT_URL sends the calls of every service here: KCL's to DynamoDB and CloudWatch, a
 * program's to S3. Each is answered one error in the form that its own client understands, with
 * what to set instead, and logged once a minute and service. STS GetCallerIdentity is answered
 * truly: KPL before 1.0.5 does not start without it.
 *
 * Thread: the request's worker. */
#ifndef PENSTOCK_OTHER_SERVICES_H
#define PENSTOCK_OTHER_SERVICES_H

#include <stdbool.h>

#include "server/request.h"

/* True: the request was clearly for another service, and is answered. False: it is untouched. */
bool other_service(struct request *request);

#endif
