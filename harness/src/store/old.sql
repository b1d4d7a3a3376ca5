-- A store of schema 1, which did not write user_version: the statements the program ran then, and
-- the rows it left.
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    started_at TEXT NOT NULL,
    class TEXT NOT NULL,
    case_name TEXT NOT NULL,
    bits TEXT NOT NULL,
    scheme TEXT NOT NULL,
    group_size INTEGER NOT NULL,
    backend TEXT NOT NULL,
    browser TEXT NOT NULL,
    status TEXT NOT NULL,
    json TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_run ON records (run_id);
INSERT INTO records (run_id, started_at, class, case_name, bits, scheme, group_size, backend, browser, status, json)
VALUES ('20260101T000000Z-0000', '2026-01-01T00:00:00Z', 'bert', 'bert-tiny', '4', 'auto', 32, 'wasm', 'chrome', 'pass',
'{"schema_version":1,"run_id":"20260101T000000Z-0000","started_at":"2026-01-01T00:00:00Z","cell":{"class":"bert","case":"bert-tiny","bits":4,"scheme":"auto","group_size":32,"backend":"wasm","browser":"chrome"},"environment":{"browser":{"name":"chrome","version":"156"},"host":{"os":"Linux"},"engine":{"version":"0.1.0"}},"outcome":{"status":"pass","timing":{"load_ms":1.0,"compile_ms":2.0,"samples_ms":[3.0],"median_ms":3.0,"ci95_ms":[3.0,3.0]}},"attempts":1,"repro":"cargo harness run"}');
INSERT INTO records (run_id, started_at, class, case_name, bits, scheme, group_size, backend, browser, status, json)
VALUES ('20260101T000000Z-0000', '2026-01-01T00:00:05Z', 'bert', 'bert-untied', '4', 'auto', 32, 'wasm', 'chrome', 'pass',
'{"schema_version":1,"run_id":"20260101T000000Z-0000","started_at":"2026-01-01T00:00:05Z","cell":{"class":"bert","case":"bert-untied","bits":4,"scheme":"auto","group_size":32,"backend":"wasm","browser":"chrome"},"environment":{"browser":{"name":"chrome","version":"156"},"host":{"os":"Linux"},"engine":{"version":"0.1.0"}},"outcome":{"status":"pass","timing":{"load_ms":1.0,"compile_ms":2.0,"samples_ms":[3.0],"median_ms":3.0,"ci95_ms":[3.0,3.0]}},"attempts":1,"repro":"cargo harness run"}');
INSERT INTO records (run_id, started_at, class, case_name, bits, scheme, group_size, backend, browser, status, json)
VALUES ('20260102T000000Z-0001', '2026-01-02T00:00:00Z', 'bert', 'bert-tiny', '4', 'auto', 32, 'wasm', 'chrome', 'pass',
'{"schema_version":1,"run_id":"20260102T000000Z-0001","started_at":"2026-01-02T00:00:00Z","cell":{"class":"bert","case":"bert-tiny","bits":4,"scheme":"auto","group_size":32,"backend":"wasm","browser":"chrome"},"environment":{"browser":{"name":"chrome","version":"156"},"host":{"os":"Linux"},"engine":{"version":"0.1.0"}},"outcome":{"status":"pass","timing":{"load_ms":1.0,"compile_ms":2.0,"samples_ms":[3.0],"median_ms":3.0,"ci95_ms":[3.0,3.0]}},"attempts":1,"repro":"cargo harness run","duration_ms":700.5}');
