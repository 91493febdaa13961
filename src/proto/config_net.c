/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_net.c - the network cards of a configuration: JSON both ways, checks.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/config.h"
#include "util/opt.h"

const char *const config_net_kind_names[] = {"user", "tap", "socket", NULL};
_Static_assert(ARRAY_SIZE(config_net_kind_names) == CONFIG_NET_KINDS + 1, "a name for each kind");

int config_check_id(const char *id, struct err *e)
{
	size_t len = strlen(id);
	char shown[40];

	if (len && len <= CONFIG_ID_MAX && id[0] >= 'a' && id[0] <= 'z' &&
	    strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == len)
		return 0;
	err_set(e, EINVAL,
		"the device name \"%s\" is not possible: use 1 to %u of a-z, 0-9 and -, beginning with a letter",
		err_quote(shown, sizeof(shown), id), CONFIG_ID_MAX);
	err_limit(e, "1..%u of a-z 0-9 -", CONFIG_ID_MAX);
	return err_field(e, "id", id);
}

const char *config_format_mac(const uint8_t mac[6], char text[CONFIG_MAC_TEXT])
{
	snprintf(text, CONFIG_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return text;
}

static int check_mac(const uint8_t mac[6], const char *text, struct err *e)
{
	static const uint8_t zero[6];

	if (mac[0] & 1) {
		err_set(e, EINVAL,
			"the address %s is a group's, not one card's: the first byte must be even",
			text);
		return err_field(e, "mac", text);
	}
	if (!memcmp(mac, zero, 6)) {
		err_set(e, EINVAL, "the address %s is no card's: choose another", text);
		return err_field(e, "mac", text);
	}
	return 0;
}

int config_parse_mac(const char *text, uint8_t mac[6], struct err *e)
{
	char shown[40];
	unsigned byte;

	for (unsigned i = 0; strlen(text) == 17 && i < 6; i++) {
		const char *p = text + i * 3;

		if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1]) ||
		    (i < 5 && p[2] != ':') || sscanf(p, "%2x", &byte) != 1)
			break;
		mac[i] = (uint8_t)byte;
		if (i == 5)
			return check_mac(mac, text, e);
	}
	err_set(e, EINVAL,
		"\"%s\" is not the address of a network card: write for example 52:54:00:12:34:56",
		err_quote(shown, sizeof(shown), text));
	err_limit(e, "six hexadecimal bytes with : between");
	return err_field(e, "mac", text);
}

json_t *config_net_to_json(const struct vm_config *c)
{
	json_t *list = json_array();
	int r = 0;

	for (unsigned i = 0; i < c->n_nets; i++) {
		const struct config_net *n = &c->net[i];
		char mac[CONFIG_MAC_TEXT];
		json_t *j = json_object();

		r |= json_object_set_new(j, "id", json_string(n->id));
		r |= json_object_set_new(j, "kind", json_string(config_net_kind_names[n->kind]));
		r |= json_object_set_new(j, "mac", json_string(config_format_mac(n->mac, mac)));
		r |= json_object_set_new(j, "mtu", json_integer(n->mtu));
		r |= json_object_set_new(j, "queues", json_integer(n->queues));
		r |= json_object_set_new(j, "bytes_per_s", json_u64(n->bytes_per_s));
		r |= json_object_set_new(j, "packets_per_s", json_u64(n->packets_per_s));
		r |= json_object_set_new(j, "bytes_burst", json_u64(n->bytes_burst));
		r |= json_object_set_new(j, "packets_burst", json_u64(n->packets_burst));
		r |= json_object_set_new(j, "unplugged", json_boolean(n->unplugged));
		r |= json_array_append_new(list, j);
	}
	if (r) {
		json_decref(list);
		return NULL;
	}
	return list;
}

static int one_from_json(const json_t *j, struct config_net *n, struct err *e)
{
	static const char *const keys[] = {
		"id",	       "kind",		"mac",	       "mtu",		"queues",
		"bytes_per_s", "packets_per_s", "bytes_burst", "packets_burst", "unplugged",
		NULL};
	uint64_t mtu = 0, queues = 0;
	char mac[CONFIG_MAC_TEXT];
	unsigned kind = 0;

	if (json_check_keys(j, keys, "the network card", e) ||
	    json_get_text(j, "id", true, n->id, sizeof(n->id), e) < 0 ||
	    json_get_choice(j, "kind", true, config_net_kind_names, &kind, e) < 0 ||
	    json_get_text(j, "mac", true, mac, sizeof(mac), e) < 0 ||
	    json_get_u64(j, "mtu", true, 0, CONFIG_NET_MTU_MAX, &mtu, e) < 0 ||
	    json_get_u64(j, "queues", true, 1, CONFIG_NET_QUEUES_MAX, &queues, e) < 0 ||
	    json_get_u64(j, "bytes_per_s", true, 0, INT64_MAX, &n->bytes_per_s, e) < 0 ||
	    json_get_u64(j, "packets_per_s", true, 0, INT64_MAX, &n->packets_per_s, e) < 0 ||
	    json_get_u64(j, "bytes_burst", false, 0, INT64_MAX, &n->bytes_burst, e) < 0 ||
	    json_get_u64(j, "packets_burst", false, 0, INT64_MAX, &n->packets_burst, e) < 0 ||
	    json_get_bool(j, "unplugged", false, &n->unplugged, e) < 0 ||
	    config_parse_mac(mac, n->mac, e) < 0)
		return -EINVAL;
	n->kind = (enum config_net_kind)kind;
	n->mtu = (unsigned)mtu;
	n->queues = (unsigned)queues;
	return 0;
}

int config_net_from_json(const json_t *list, struct vm_config *c, struct err *e)
{
	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > CONFIG_NETS_MAX) {
		err_set(e, EINVAL, "the network cards are not a list of at most %u",
			CONFIG_NETS_MAX);
		return err_field(e, "net", NULL);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		int r = one_from_json(json_array_get(list, i), &c->net[i], e);

		if (r)
			return r;
	}
	c->n_nets = (unsigned)json_array_size(list);
	return 0;
}

int config_net_add(struct vm_config *c, const json_t *j, struct err *e)
{
	int r;

	if (c->n_nets == CONFIG_NETS_MAX) {
		err_set(e, ENOSPC, "the VM has %u network cards already, and cannot have more",
			c->n_nets);
		return err_limit(e, "%u", CONFIG_NETS_MAX);
	}
	c->net[c->n_nets] = (struct config_net){0};
	r = one_from_json(j, &c->net[c->n_nets], e);
	c->n_nets += r == 0;
	return r;
}

int config_net_check(const struct vm_config *c, struct err *e)
{
	char mac[CONFIG_MAC_TEXT];

	if (c->n_nets > CONFIG_NETS_MAX) {
		err_set(e, EINVAL, "%u network cards are too many: a VM has at most %u", c->n_nets,
			CONFIG_NETS_MAX);
		err_limit(e, "%u", CONFIG_NETS_MAX);
		return err_field(e, "net", NULL);
	}
	for (unsigned i = 0; i < c->n_nets; i++) {
		const struct config_net *n = &c->net[i];
		int r = config_check_id(n->id, e);

		if (!r)
			r = check_mac(n->mac, config_format_mac(n->mac, mac), e);
		if (r)
			return r;
		if ((unsigned)n->kind >= CONFIG_NET_KINDS || n->queues < 1 ||
		    n->queues > CONFIG_NET_QUEUES_MAX)
			return err_set(e, EINVAL, "the network card %s has a choice out of range",
				       n->id);
		if (n->mtu && (n->mtu < CONFIG_NET_MTU_MIN || n->mtu > CONFIG_NET_MTU_MAX)) {
			err_set(e, EINVAL,
				"the network card %s cannot have an MTU of %u: %u to %u are possible",
				n->id, n->mtu, CONFIG_NET_MTU_MIN, CONFIG_NET_MTU_MAX);
			err_limit(e, "%u..%u", CONFIG_NET_MTU_MIN, CONFIG_NET_MTU_MAX);
			return err_field(e, "mtu", NULL);
		}
		for (unsigned k = 0; k < c->n_disks; k++) {
			if (strcmp(c->disk[k].id, n->id) != 0)
				continue;
			err_set(e, EEXIST, "a disk and a network card are both called %s", n->id);
			return err_field(e, "id", n->id);
		}
		for (unsigned k = 0; k < i; k++) {
			if (!strcmp(c->net[k].id, n->id)) {
				err_set(e, EEXIST, "two network cards are called %s", n->id);
				return err_field(e, "id", n->id);
			}
			if (!memcmp(c->net[k].mac, n->mac, 6)) {
				config_format_mac(n->mac, mac);
				err_set(e, EEXIST,
					"the network cards %s and %s have the same address %s",
					c->net[k].id, n->id, mac);
				return err_field(e, "mac", mac);
			}
		}
	}
	return 0;
}
