-- The vectors that were written together in one row: read several times as fast as a row for each. "passages" and "articles"
-- are their ids as little-endian int64, 0 for a passage that is gone; vectors are float32, one after the other. A number is not
-- given twice, because programs read on from the last pack they know.
ALTER TABLE embeddings RENAME TO unpacked_embeddings;
CREATE TABLE vector_packs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    passages BLOB NOT NULL,
    articles BLOB NOT NULL,
    vectors BLOB NOT NULL,
    CHECK (length(articles) = length(passages) AND 8 * length(vectors) = 4 * dimension * length(passages))
) STRICT;
-- Where the vector of a passage is: the pack and, from 0, its place there.
CREATE TABLE embedded_passages (
    pack_id INTEGER NOT NULL REFERENCES vector_packs(id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    passage_id INTEGER NOT NULL REFERENCES passages(id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    PRIMARY KEY (pack_id, place),
    UNIQUE (passage_id, model)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER embedded_passages_removed AFTER DELETE ON embedded_passages BEGIN
    UPDATE vector_packs SET passages = CAST(
        substr(passages, 1, 8 * old.place) || zeroblob(8) || substr(passages, 8 * old.place + 9) AS BLOB)
    WHERE id = old.pack_id;
    DELETE FROM vector_packs
    WHERE id = old.pack_id AND NOT EXISTS (SELECT 1 FROM embedded_passages WHERE pack_id = old.pack_id);
END;
CREATE VIEW embeddings AS
    SELECT e.passage_id, e.model, p.dimension,
           substr(p.vectors, 4 * p.dimension * e.place + 1, 4 * p.dimension) AS vector
    FROM embedded_passages e JOIN vector_packs p ON p.id = e.pack_id;
