-- Vectors go with their passages also where a program leaves foreign keys off, as the shell of SQLite does.
DELETE FROM embedded_passages WHERE passage_id NOT IN (SELECT id FROM passages);
CREATE TRIGGER passages_removed AFTER DELETE ON passages BEGIN
    DELETE FROM embedded_passages WHERE passage_id = old.id;
END;
