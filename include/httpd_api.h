/* The part of Apache's C API that mod_slot uses; bindgen reads this file. */
#include <httpd.h>
#include <http_config.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <ap_expr.h>
#include <ap_mpm.h>
#include <mod_proxy.h>
#include <mod_rewrite.h>
#include <mpm_common.h>
#include <scoreboard.h>
#include <unixd.h>
#include <util_filter.h>
#include <apr_strings.h>
#include <apr_fnmatch.h>
#include <apr_optional.h>

#include "shims.h"
