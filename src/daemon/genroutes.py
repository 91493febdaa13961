#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# genroutes.py LODGE.json SCHEMAS.json OUT.h: the tables of lodged's API out of its description (endpoints, and what is said to them): routes, what bodies and queries may have,
# and who may do what. An endpoint without an operationId or a role, and anything that the tables cannot express, fails the build.
import json
import re
import sys

ROLES = ("viewer", "operator", "admin")


def die(text):
    sys.exit("genroutes: " + text)


def c_string(text):
    return json.dumps(text)


def field(where, name, schema, required):
    kind = schema.get("type")
    known = {"type", "description", "enum", "minLength", "maxLength", "minimum", "maximum", "items", "minItems", "maxItems", "x-lodge-roles"}
    if set(schema) - known:
        die(f"{where}: {name}: cannot express {sorted(set(schema) - known)}")
    words, roles = "NULL", "NULL"
    if "x-lodge-roles" in schema:
        of = schema["x-lodge-roles"]
        if set(of) - set(schema.get("enum", [])) or set(of.values()) - set(ROLES):
            die(f"{where}: {name}: x-lodge-roles gives {', '.join(ROLES)} to words of its enum")
        roles = "(const enum role[]){" + ", ".join("ROLE_" + of.get(w, "none").upper() for w in schema["enum"]) + "}"
    if "enum" in schema:
        words = "(const char *const[]){" + ", ".join(map(c_string, schema["enum"])) + ", NULL}"
        low, high, c_kind = 0, 0, "API_WORD"
    elif kind == "string":
        low, high, c_kind = schema.get("minLength", 0), schema.get("maxLength"), "API_TEXT"
    elif kind == "integer":
        low, high, c_kind = schema.get("minimum"), schema.get("maximum"), "API_NUMBER"
    elif kind == "boolean":
        low, high, c_kind = 0, 1, "API_BOOL"
    elif kind == "array" and schema["items"].get("type") == "string":
        if schema["items"].get("maxLength") != 4096:
            die(f"{where}: {name}: texts of a list have at most 4096 bytes")
        low, high, c_kind = schema.get("minItems", 0), schema.get("maxItems"), "API_TEXTS"
    else:
        die(f"{where}: {name}: type {kind} is not known")
    if low is None or high is None:
        die(f"{where}: {name} has no bounds")
    return f"\t{{{c_string(name)}, {c_kind}, {'true' if required else 'false'}, {low}, {high}, {words}, {roles}}},"


def main(source, said, out):
    with open(source, encoding="utf-8") as f:
        api = json.load(f)
    with open(said, encoding="utf-8") as f:
        schemas = json.load(f)["components"]["schemas"]
    text = ["/* Made of docs/api/ by src/daemon/genroutes.py. */"]
    routes, handlers, done = [], [], set()

    def table(name, rows):
        if name in done:
            return
        done.add(name)
        text.append(f"static const struct api_field fields_{name}[] = {{")
        text.extend(rows)
        text.append("\t{NULL, API_TEXT, false, 0, 0, NULL, NULL},\n};")

    def of_schema(node):
        """The table of an object that comes from a client; its name."""
        ref = node["$ref"].rsplit("/", 1)[1]
        schema = schemas.get(ref)
        if schema is None:
            die(f"there is no schema {ref}")
        if schema.get("additionalProperties") is not False:
            die(f"{ref}: additionalProperties is not false")
        table(ref, [field(ref, k, v, k in schema.get("required", [])) for k, v in schema["properties"].items()])
        return f"fields_{ref}"

    for path, methods in api["paths"].items():
        if path.count("{") > 1:
            die(f"{path}: more than one parameter")
        shared = methods.get("parameters", [])
        if [p["$ref"].rsplit("/", 1)[1] for p in shared] != re.findall(r"{(\w+)}", path):
            die(f"{path}: its parameters are not those in its braces")
        for method, op in methods.items():
            if method == "parameters":
                continue
            where = f"{method.upper()} {path}"
            if "operationId" not in op:
                die(f"{where} has no operationId")
            role = op.get("x-lodge-role")
            if role not in ROLES:
                die(f"{where} has no x-lodge-role of {', '.join(ROLES)}: who may do this?")
            name = op["operationId"]
            if "responses" not in op or "summary" not in op:
                die(f"{where} has no summary or no responses")
            if op.get("x-lodge-websocket") and (method != "get" or "requestBody" in op):
                die(f"{where}: a WebSocket begins with a GET without a body")
            ws = str(op.get("x-lodge-websocket", False)).lower()
            query = []
            for p in op.get("parameters", []):
                if p["in"] != "query":
                    die(f"{where}: only query parameters are known")
                query.append(field(where, p["name"], p["schema"], p.get("required", False)))
            table(name + "_query", query)
            body, body_required, first = "NULL", "false", "NULL"
            if "requestBody" in op:
                body = of_schema(op["requestBody"]["content"]["application/json"]["schema"])
                body_required = str(op["requestBody"]["required"]).lower()
            if "x-lodge-first" in op:
                if ws == "false":
                    die(f"{where}: x-lodge-first is of a WebSocket")
                first = of_schema(op["x-lodge-first"])
            handlers.append(f"void api_{name}(struct api_call *call);")
            routes.append(f"\t{{{c_string(method.upper())}, {c_string(path)}, ROLE_{role.upper()}, {ws}, api_{name}, "
                          f"{body}, {body_required}, {first}, fields_{name}_query}},")
    text[1:1] = handlers + ["#ifdef API_TABLES"]
    text.append("static const struct api_route api_routes[] = {")
    text += routes
    text += ["};", "#endif"]
    with open(out, "w", encoding="utf-8") as f:
        f.write("\n".join(text) + "\n")


main(*sys.argv[1:])
