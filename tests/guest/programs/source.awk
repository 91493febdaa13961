# SPDX-License-Identifier: Apache-2.0
# source.awk -v functions=N: a C program of that many functions, the same each time: integers of all sizes, divisions, shifts, floating
# point, arrays, switches, loops, calls through pointers. It prints what they came to.
function rnd(n) {
	seed = (seed * 16807) % 2147483647
	return seed % n
}

function variable() { return substr("abcd", 1 + rnd(4), 1) }

function statement(i, v, w) {
	v = variable()
	w = variable()
	switch_on = rnd(14)
	if (switch_on == 0)
		return v " += " w " * UINT64_C(" 1 + 2 * rnd(1000000) ");"
	if (switch_on == 1)
		return v " ^= " w " >> " 1 + rnd(62) ";"
	if (switch_on == 2)
		return v " = (" v " << " 1 + rnd(62) ") | (" v " >> " 1 + rnd(62) ");"
	if (switch_on == 3)
		return v " = " w " / (" 1 + rnd(5000) " + (" v " & 255));"
	if (switch_on == 4)
		return v " += (uint64_t)((int64_t)" w " % " 2 + rnd(70000) ");"
	if (switch_on == 5)
		return v " ^= (uint8_t)" w " * (uint16_t)" v " + (uint64_t)(int8_t)" w ";"
	if (switch_on == 6)
		return "x = x * 0.5 + (double)(uint32_t)" v " / " 1 + rnd(900) ".25; " w " += (uint64_t)(int64_t)x;"
	if (switch_on == 7)
		return "for (k = 0; k < " 4 + rnd(28) "; k++) { m[k] += " v " + k; " w " ^= m[(k * " 1 + rnd(30) ") & 31]; }"
	if (switch_on == 8)
		return "switch (" v " % 5) { case 0: " w " += 3; break; case 1: " w " ^= " v "; break; case 2: " w "--; /* on */ " \
			"case 3: x += 1.5; break; default: " w " = ~" w "; }"
	if (switch_on == 9)
		return "if ((int64_t)" v " < (int64_t)" w ") " v " = -" v "; else " w " -= " rnd(1000) ";"
	if (switch_on == 10)
		return "memcpy((char *)m + " rnd(64) ", (char *)m + " 128 + rnd(64) ", " 1 + rnd(60) "); " v " += m[" rnd(32) "];"
	if (switch_on == 11 && i > 8)
		return v " ^= f" 8 * int(rnd(i) / 8) "(" w ", " rnd(1000) ");"
	if (switch_on == 12)
		return v " = (" v " > " w ") + (" w " != 0) * " 3 + rnd(90) " + (" v " & 1 ? " w " : " v " >> 1);"
	return "g.n[" rnd(16) "] += (uint32_t)" v "; " v " += g.n[" rnd(16) "]; g.h ^= (uint16_t)" w ";"
}

BEGIN {
	seed = 20011
	print "#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n"
	print "static struct { uint32_t n[16]; uint16_t h; } g;\nstatic uint64_t m[32];\nstatic double x;\n"
	for (i = 0; i < functions; i++) {
		print "static uint64_t f" i "(uint64_t a, uint64_t b)\n{\n\tuint64_t c = a ^ b, d = a + " rnd(100000) ";\n\tunsigned k;\n"
		# Every eighth is called by others, and calls none.
		for (n = 4 + rnd(8); n > 0; n--)
			print "\t" statement(i % 8 ? i : 0)
		print "\t(void)k;\n\treturn a + b * 3 + (c ^ d);\n}\n"
	}
	print "static uint64_t (*const all[])(uint64_t, uint64_t) = {"
	for (i = 0; i < functions; i++)
		print "\tf" i ","
	print "};\n"
	print "int main(void)\n{\n\tuint64_t s = 1, r, i;\n\n\tfor (r = 0; r < 100; r++) {"
	print "\t\tfor (i = 0; i < sizeof(all) / sizeof(all[0]); i++)\n\t\t\ts = (s << 7 | s >> 57) ^ all[i](s, i + r);"
	print "\t\tx = x > 1e12 || x < -1e12 || x != x ? 1 : x;\n\t}"
	print "\tprintf(\"%016llx %04x %.17g\\n\", (unsigned long long)s, g.h, x);\n\treturn 0;\n}"
}
