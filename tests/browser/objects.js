// The objects of the browser test, and kubectl.
import { spawnSync } from "node:child_process";

export const BLOCKS = 60;
const API = "privatekube.dev/v1alpha1";

function namespace(name) {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name } };
}

function dataset() {
  return {
    apiVersion: API,
    kind: "PrivateDataset",
    metadata: { name: "taxi", namespace: "data" },
    spec: {
      policy: "DPF",
      unlocking: { arrivals: 12 },
      composition: "Renyi",
      guarantee: { epsilon: 10, delta: "1e-7" },
      dimensions: [{ name: "day", type: "Integer" }],
      timeDimension: "day",
      claimants: { from: "All" },
    },
  };
}

function block(number) {
  const day = 20700 + number;
  const name = `taxi-${new Date(day * 86400000).toISOString().slice(0, 10)}`;
  return {
    apiVersion: API,
    kind: "PrivateDataBlock",
    metadata: { name, namespace: "data" },
    spec: { dataset: "taxi", dataSource: `s3://lake/${name}`, dimensions: { day } },
  };
}

// A claim on the newest `blocks` blocks.
export function claim(name, namespace, epsilon, blocks, more = {}) {
  return {
    apiVersion: API,
    kind: "PrivacyBudgetClaim",
    metadata: { name, namespace },
    spec: {
      dataset: "data/taxi",
      blocks: { min: 1, max: blocks },
      budget: { epsilon: String(epsilon), delta: "1e-9" },
      ...more,
    },
  };
}

// A dataset of 60 blocks with claims of three namespaces in every phase.
export function world() {
  const namespaces = ["data", "research", "ads"].map(namespace);
  return [...namespaces, dataset(), ...Array.from({ length: BLOCKS }, (_, number) => block(number))];
}

export const CLAIMS = [
  claim("weekly-report", "data", "2.6", 40, { consume: { all: true } }),
  claim("mean-fare", "data", "2", 60, { consume: { all: true } }),
  claim("embeddings", "research", "2.7", 25, { consume: { all: true } }),
  claim("ablation", "research", "2.5", 12),
  claim("reach", "ads", "2.3", 30),
  claim("train-large", "research", "7", 20),
  claim("attribution", "ads", "7.6", 8),
  claim("everything", "ads", "60", 3),
];

// Runs kubectl; returns what it prints.
export function kubectl(args, input) {
  const ran = spawnSync("kubectl", args, { input, encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`kubectl ${args.join(" ")}: ${ran.stderr}`);
  return ran.stdout;
}

export function apply(objects) {
  kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
}

// Waits until a claim is in a phase.
export function untilPhase(namespace, name, phase) {
  kubectl(["wait", `--for=jsonpath={.status.phase}=${phase}`, `pbc/${name}`, "-n", namespace, "--timeout=60s"]);
}
