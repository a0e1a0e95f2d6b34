//! The helpers, against what sprig and Go give.

use super::*;

#[test]
fn helpers_as_in_sprig() {
    check(&[
        ("{{ b64enc .pass }}", "cDwmPiIneA=="),
        ("{{ toJson .pass }}", r#""p\u003c\u0026\u003e\"'x""#),
        (
            "{{ toPrettyJson .hosts }}",
            "[\n  {\n    \"n\": \"x\",\n    \"p\": 1\n  },\n  {\n    \"n\": \"y\",\n    \"p\": 2\n  }\n]",
        ),
        (
            "{{ toYaml .db }}",
            "deep:\n  x-y: z\nhost: h\nports:\n- 1\n- 2",
        ),
        (
            "{{ fromJson \"1e3\" }}{{ fromJson \"\\\"x\\\"\" }}{{ fromJson \" null \" }}",
            "1e3x",
        ),
        ("{{ toString .port }}{{ .exp | toString }}", "54321e3"),
        ("{{ upper \"aß\" }}{{ lower \"ÀB\" }}", "Aßàb"),
        ("[{{ trim \" \\n a b\\t\" }}]", "[a b]"),
        (
            "{{ trimPrefix \"ad\" .user }}{{ trimSuffix \"in\" .user }}{{ trimPrefix \"x\" .user }}",
            "minadmadmin",
        ),
        (
            "{{ quote .pass }} {{ squote .user }} {{ quote .user .nothing .port }}",
            "\"p<&>\\\"'x\" 'admin' \"admin\" \"5432\"",
        ),
        (
            "{{ quote \"é\\u0301\\x00\\u00a0\\ufeff\\U000e0001😀\" }}",
            "\"é\u{301}\\x00\\u00a0\\ufeff\\U000e0001😀\"",
        ),
        (
            "{{ default \"d\" .empty }}{{ default \"d\" .zero }}{{ default \"d\" .missing }}{{ .missing | default \"p\" }}{{ default \"d\" .user }}",
            "dddpadmin",
        ),
        ("{{ index . \"missing\" | default \"x\" }}", "x"),
        (
            "{{ indent 2 \"a\\nb\" }}|{{ nindent 1 \"a\\nb\" }}",
            "  a\n  b|\n a\n b",
        ),
        (
            "{{ replace \"a\" \"bb\" \"banana\" }}{{ \"ab\" | replace \"\" \"-\" }}",
            "bbbnbbnbb-a-b-",
        ),
        (
            "{{ join \",\" .list }}{{ join \"-\" .user }}{{ .db.ports | join \"+\" }}",
            "a,b,cadmin1+2",
        ),
        (
            "{{ splitList \",\" \"a,,b\" }}{{ splitList \"\" \"ab\" }}{{ splitList \",\" \"\" }}",
            "[\"a\",\"\",\"b\"][\"a\",\"b\"][\"\"]",
        ),
        (
            "{{ sha256sum \"abc\" }}",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("{{ urlquery \"a b&é~-_.\" }}", "a+b%26%C3%A9~-_."),
        ("{{ len .list }}{{ len .db }}{{ len \"é\" }}", "332"),
        (
            "{{ not .user }}{{ ne 1 2 }}{{ lt 9 10 }}{{ le \"a\" \"b\" }}{{ ge 1 1.0 }}",
            "falsetruetruetruetrue",
        ),
        ("{{ eq .user \"x\" \"admin\" }}", "true"),
    ]);
}

#[test]
fn printf_as_in_go() {
    check(&[
        (
            "{{ printf \"%s|%5s|%-5s|%.2s|%5.1s\" \"abc\" \"ab\" \"ab\" \"héé\" \"xyz\" }}",
            "abc|   ab|ab   |hé|    x",
        ),
        (
            "{{ printf \"%d|%5d|%-5d|%05d|%+d|% d|%.4d|%+05d\" 42 42 42 42 42 42 42 -42 }}",
            "42|   42|42   |00042|+42| 42|0042|-0042",
        ),
        (
            "{{ printf \"%d %d\" .big .port }}",
            "12345678901234567890123 5432",
        ),
        (
            "{{ printf \"%v %v %v %v\" .user .port .yes .db.ports }}",
            "admin 5432 true [1,2]",
        ),
        ("{{ printf \"%s\" .port }}", "5432"),
        (
            "{{ printf \"%q|%8q\" \"a\\\"b\" \"x\" }}",
            "\"a\\\"b\"|     \"x\"",
        ),
        ("{{ printf \"%t|%6t\" true false }}", "true| false"),
        (
            "{{ printf \"%f|%.2f|%8.3f|%08.3f|%+.1f|%.0f\" 1.5 2.005 3.14159 -3.14159 2.25 2.5 }}",
            "1.500000|2.00|   3.142|-003.142|+2.2|2",
        ),
        ("{{ printf \"%f\" .port }}", "5432.000000"),
        (
            "{{ printf \"%x|%X|%#x|%x|%04x\" 255 255 255 \"hi\" 10 }}",
            "ff|FF|0xff|6869|000a",
        ),
        ("{{ printf \"100%%\" }}", "100%"),
        ("{{ printf \"%05s\" \"ab\" }}", "000ab"),
    ]);
    refuse(&[
        (
            "{{ printf \"%d\" \"5\" }}",
            "line 1, column 1: `printf`: `%d` does not take a string",
        ),
        (
            "{{ printf \"%d\" 1.5 }}",
            "line 1, column 1: `printf`: `%d` does not take a number",
        ),
        (
            "{{ printf \"%t\" \"true\" }}",
            "line 1, column 1: `printf`: `%t` does not take a string",
        ),
        (
            "{{ printf \"%s\" }}",
            "line 1, column 1: `printf`: `%s` has no value",
        ),
        (
            "{{ printf \"%s\" 1 2 }}",
            "line 1, column 1: `printf`: there are more values than the format has verbs",
        ),
        (
            "{{ printf \"%y\" 1 }}",
            "line 1, column 1: `printf`: `%y` is not supported",
        ),
        (
            "{{ printf \"%\" }}",
            "line 1, column 1: `printf`: the format ends in `%`",
        ),
        (
            "{{ printf \"%*d\" 1 2 }}",
            "line 1, column 1: `printf`: `*` and `[n]` are not supported in a format",
        ),
    ]);
}
