-- The schema of greenchat for MariaDB 10.6 or later and MySQL 8.0.17 or later.
--
--     mysql chat < chat.sql
--
-- loads it into an empty database.  A server does the same by itself; this is for who gives servers no
-- right to create tables.  tests/data/engine/test_mysql.py holds it equal to greenchat/data/schema.py.

SET NAMES utf8mb4;

CREATE TABLE `User` (
    id INTEGER NOT NULL AUTO_INCREMENT,
    name VARCHAR(50) NOT NULL,
    password VARCHAR(200) NOT NULL,
    state VARCHAR(7) NOT NULL,
    node VARCHAR(100),
    created CHAR(24) NOT NULL,
    last_seen CHAR(24),
    PRIMARY KEY (id),
    UNIQUE (name)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `Friend` (
    userid INTEGER NOT NULL,
    friendid INTEGER NOT NULL,
    created CHAR(24) NOT NULL,
    PRIMARY KEY (userid, friendid),
    KEY `Friend_friendid` (friendid)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `Block` (
    userid INTEGER NOT NULL,
    blockedid INTEGER NOT NULL,
    PRIMARY KEY (userid, blockedid),
    KEY `Block_blockedid` (blockedid)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `AllGroup` (
    id INTEGER NOT NULL AUTO_INCREMENT,
    groupname VARCHAR(50) NOT NULL,
    groupdesc VARCHAR(200) NOT NULL,
    size INTEGER NOT NULL,
    created CHAR(24) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (groupname)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `GroupUser` (
    groupid INTEGER NOT NULL,
    userid INTEGER NOT NULL,
    grouprole VARCHAR(7) NOT NULL,
    joined_seq BIGINT NOT NULL,
    joined CHAR(24) NOT NULL,
    PRIMARY KEY (groupid, userid),
    KEY `GroupUser_userid` (userid)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `Conversation` (
    id BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    higher BIGINT GENERATED ALWAYS AS (id & 4294967295) STORED,
    PRIMARY KEY (id),
    KEY `Conversation_higher` (higher)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `Message` (
    conversation BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    sender INTEGER NOT NULL,
    cid VARCHAR(36),
    kind VARCHAR(6) NOT NULL,
    body TEXT NOT NULL,
    created CHAR(24) NOT NULL,
    PRIMARY KEY (conversation, seq),
    CONSTRAINT `Message_sender_cid` UNIQUE (sender, cid)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `Device` (
    userid INTEGER NOT NULL,
    device VARCHAR(36) NOT NULL,
    generation BIGINT NOT NULL,
    node VARCHAR(100),
    incarnation BIGINT,
    last_login CHAR(24) NOT NULL,
    PRIMARY KEY (userid, device)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `Setting` (
    name VARCHAR(50) NOT NULL,
    value VARCHAR(500) NOT NULL,
    PRIMARY KEY (name)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `Cursor` (
    userid INTEGER NOT NULL,
    device VARCHAR(36) NOT NULL,
    conversation BIGINT NOT NULL,
    delivered_seq BIGINT NOT NULL,
    PRIMARY KEY (userid, device, conversation)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE `ReadMark` (
    userid INTEGER NOT NULL,
    conversation BIGINT NOT NULL,
    read_seq BIGINT NOT NULL,
    PRIMARY KEY (userid, conversation)
)ENGINE=InnoDB CHARSET=utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE VIEW `OfflineMessage` (userid, message) AS
SELECT seat.userid, CASE
    WHEN m.kind = 'recall' AND m.conversation > 0 THEN JSON_OBJECT('msgid', 17,
        'id', m.sender, 'target', CAST(m.body AS SIGNED), 'seq', m.seq, 'time', m.created,
        'peerid', m.sender)
    WHEN m.kind = 'recall' THEN JSON_OBJECT('msgid', 17,
        'id', m.sender, 'target', CAST(m.body AS SIGNED), 'seq', m.seq, 'time', m.created,
        'groupid', -m.conversation)
    WHEN m.body = '' AND m.conversation > 0 THEN JSON_OBJECT('msgid', 6, 'id', m.sender, 'name', COALESCE(u.name, '(deleted)'),
        'toid', seat.userid, 'seq', m.seq, 'time', m.created, 'recalled', JSON_EXTRACT('true', '$'))
    WHEN m.body = '' THEN JSON_OBJECT('msgid', 10, 'id', m.sender, 'name', COALESCE(u.name, '(deleted)'),
        'groupid', -m.conversation, 'seq', m.seq, 'time', m.created, 'recalled', JSON_EXTRACT('true', '$'))
    WHEN m.conversation > 0 THEN JSON_OBJECT('msgid', 6, 'id', m.sender, 'name', COALESCE(u.name, '(deleted)'),
        'toid', seat.userid, 'msg', m.body, 'seq', m.seq, 'time', m.created)
    ELSE JSON_OBJECT('msgid', 10, 'id', m.sender, 'name', COALESCE(u.name, '(deleted)'),
        'groupid', -m.conversation, 'msg', m.body, 'seq', m.seq, 'time', m.created)
    END
FROM (
    SELECT id >> 32 AS userid, id AS conversation, 0 AS joined_seq FROM `Conversation` WHERE id > 0
    UNION ALL SELECT higher, id, 0 FROM `Conversation` WHERE id > 0 AND higher <> id >> 32
    UNION ALL SELECT userid, -groupid, joined_seq FROM `GroupUser`
) AS seat
JOIN `Message` AS m ON m.conversation = seat.conversation AND m.seq > seat.joined_seq
    AND m.sender <> seat.userid
LEFT JOIN `User` AS u ON u.id = m.sender
WHERE m.seq > COALESCE((SELECT MAX(k.delivered_seq) FROM `Cursor` AS k
    WHERE k.userid = seat.userid AND k.conversation = seat.conversation), 0)
ORDER BY seat.userid, m.conversation, m.seq;

INSERT INTO `Setting` (name, value) VALUES ('schema_version', '1');
