//! The ends of the help of each subcommand: examples and exit codes.

macro_rules! help {
    ($(#[$doc:meta])* $name:ident: [$($example:literal),+], $(($code:literal, $meaning:literal)),+ $(,)?) => {
        $(#[$doc])*
        pub(crate) const $name: &str = concat!(
            "Examples:\n",
            $("  ", $example, "\n",)+
            "\nExit codes:",
            $("\n  ", $code, "  ", $meaning,)+
        );
    };
}

help!(INJECT: [
        "couchdiscover inject -f couchdb.yaml | kubectl apply -f -",
        "couchdiscover inject -f couchdb.yaml -o patch"
    ],
    (" 0", "done"),
    (" 1", "the file cannot be read, or is denied"),
    ("64", "wrong command line"),
);
help!(UNINJECT: [
        "couchdiscover uninject -f injected.yaml > couchdb.yaml",
        "kubectl get statefulset couchdb -o yaml | couchdiscover uninject -f -"
    ],
    (" 0", "done"),
    (" 1", "the file cannot be read, or is denied"),
    ("64", "wrong command line"),
);
help!(CHECK: [
        "couchdiscover check -n shop",
        "couchdiscover check --pre",
        "couchdiscover check --wait 2m -o json"
    ],
    (" 0", "no problem is found"),
    (" 1", "a problem is found"),
    (" 2", "nothing can be read"),
    ("64", "wrong command line"),
    ("69", "no cluster can be reached"),
);
help!(STATUS: ["couchdiscover status", "couchdiscover status couchdb -n shop --watch"],
    (" 0", "every pod is ready and no agent reports a condition"),
    (" 1", "a pod is not ready, or an agent reports a condition"),
    (" 2", "pods cannot be read"),
    ("64", "wrong command line"),
    ("69", "no cluster can be reached"),
);
help!(PLAN: ["couchdiscover plan couchdb -n shop --replicas 5"],
    (" 0", "the plan can be carried out now"),
    (" 1", "it cannot"),
    (" 2", "no agent answers with a plan"),
    ("64", "wrong command line"),
    ("69", "no cluster can be reached"),
);
help!(SCALE: [
        "couchdiscover scale couchdb -n shop --replicas 3",
        "couchdiscover scale couchdb -n shop --replicas 3 --yes --timeout 2h"
    ],
    (" 0", "done"),
    (" 1", "refused, interrupted, or not done in time; what has begun goes on"),
    (" 2", "the state cannot be read"),
    ("64", "wrong command line, or a confirmation is missing"),
    ("69", "no cluster can be reached"),
);
help!(PAGE: ["couchdiscover page couchdb-0 -n shop", "couchdiscover page couchdb-0 --port 8484"],
    (" 0", "ended by Ctrl-C"),
    (" 1", "the port cannot be opened"),
    (" 2", "the agent does not answer with a page"),
    ("64", "wrong command line"),
    ("69", "no cluster can be reached"),
);
help!(OPEN: ["couchdiscover open couchdb-1 -n shop", "couchdiscover open couchdb-1 -n shop --yes"],
    (" 0", "done, or nothing has to be changed"),
    (" 1", "refused, failed, or declined"),
    (" 2", "the state cannot be read"),
    ("64", "wrong command line, or a confirmation is missing"),
    ("69", "no cluster can be reached"),
);
help!(READMIT: ["couchdiscover readmit couchdb-2 -n shop"],
    (" 0", "done, or nothing has to be changed"),
    (" 1", "refused, failed, or declined"),
    (" 2", "the state cannot be read"),
    ("64", "wrong command line, or a confirmation is missing"),
    ("69", "no cluster can be reached"),
);
help!(FORGET: ["couchdiscover forget nonode@nohost -n shop", "couchdiscover forget old@host --set couchdb --yes"],
    (" 0", "done, or nothing has to be changed"),
    (" 1", "refused, failed, or declined"),
    (" 2", "the state cannot be read"),
    ("64", "wrong command line, or a confirmation is missing"),
    ("69", "no cluster can be reached"),
);
help!(EXPLAIN: ["couchdiscover explain", "couchdiscover explain Filling"],
    (" 0", "done"),
    (" 1", "the page cannot be written"),
    ("64", "wrong command line, or no such page"),
);
help!(COMPLETION: [
        "source <(couchdiscover completion bash)",
        "couchdiscover completion zsh > ~/.zfunc/_couchdiscover",
        "couchdiscover completion fish > ~/.config/fish/completions/couchdiscover.fish",
        "couchdiscover completion powershell | Out-String | Invoke-Expression"
    ],
    (" 0", "done"),
    (" 1", "the script cannot be written"),
    ("64", "wrong command line"),
);
