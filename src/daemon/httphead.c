/* SPDX-License-Identifier: Apache-2.0 */
/* httphead.c - see httphead.h. Sections are those of RFC 9112. */
#include "daemon/httphead.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "proto/ws.h"
#include "util/opt.h"

/* What is collected beside the head itself. */
struct fields {
	bool length, coding, host, upgrade_ws, connection_upgrade;
};

/* Is `word` one of the list's, "a, b"? */
static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (*list) {
		size_t n;

		list += strspn(list, ", \t");
		n = strcspn(list, ", \t");
		if (n == len && !strncasecmp(list, word, len))
			return true;
		list += n;
	}
	return false;
}

/* One field; it ends the text at `line`. */
static unsigned parse_field(char *line, struct http_head *h, struct fields *f)
{
	size_t n = strcspn(line, ": \t");
	char *value, *end;

	/* No name, a blank before the colon, or a folded line (§5.1, §5.2). */
	if (!n || line[n] != ':')
		return 400;
	line[n] = '\0';
	value = line + n + 1 + strspn(line + n + 1, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	if (!strcasecmp(line, "Content-Length")) {
		if (f->length || opt_parse_uint(value, 0, UINT64_MAX, &h->length, NULL) < 0)
			return 400;
		f->length = true;
	} else if (!strcasecmp(line, "Transfer-Encoding")) {
		f->coding = true;
	} else if (!strcasecmp(line, "Host")) {
		if (f->host) /* §3.2 */
			return 400;
		f->host = true;
		h->host = value;
	} else if (!strcasecmp(line, "Connection")) {
		h->close = h->close || list_has(value, "close");
		f->connection_upgrade = f->connection_upgrade || list_has(value, "upgrade");
	} else if (!strcasecmp(line, "Upgrade")) {
		f->upgrade_ws = f->upgrade_ws || list_has(value, "websocket");
	} else if (!strcasecmp(line, "Sec-WebSocket-Key")) {
		h->ws_key = value;
	} else if (!strcasecmp(line, "Sec-WebSocket-Version")) {
		h->ws_version = value;
	} else if (!strcasecmp(line, "If-Match")) {
		h->if_match = value;
	} else if (!strcasecmp(line, "Origin")) {
		h->origin = value;
	}
	return 0;
}

static unsigned parse_first(char *line, struct http_head *h)
{
	char *version, *query;

	h->method = line;
	h->path = strchr(line, ' ');
	version = h->path ? strchr(h->path + 1, ' ') : NULL;
	if (!version || h->path[1] != '/')
		return 400;
	*h->path++ = '\0';
	*version++ = '\0';
	if (strcmp(version, "HTTP/1.1") != 0)
		return strncmp(version, "HTTP/", 5) == 0 ? 505 : 400;
	for (const char *p = h->method; *p; p++)
		if (!isupper((unsigned char)*p))
			return 400;
	query = strchr(h->path, '?');
	if (query) {
		*query = '\0';
		h->query = query + 1;
	}
	return *h->method ? 0 : 400;
}

unsigned http_head_parse(char *text, struct http_head *h)
{
	char *line = text, *next = strstr(line, "\r\n");
	struct fields f = {0};
	unsigned r;

	*h = (struct http_head){.query = "",
				.if_match = "",
				.host = "",
				.origin = "",
				.ws_key = "",
				.ws_version = ""};
	if (next)
		*next = '\0';
	r = parse_first(line, h);
	while (!r && next) {
		line = next + 2;
		next = strstr(line, "\r\n");
		if (next)
			*next = '\0';
		r = parse_field(line, h, &f);
	}
	if (r)
		return r;
	if (f.coding) /* with a length too it is an attack (§6.1) */
		return f.length ? 400 : 501;
	h->ws = f.upgrade_ws && f.connection_upgrade;
	if (!f.host || (h->ws && (strcmp(h->method, "GET") != 0 || h->length ||
				  (!strcmp(h->ws_version, "13") && !ws_key_good(h->ws_key)))))
		return 400;
	return 0;
}
